package config

import "time"

// Config is every setting of the daemon. The tags are the reference: key,
// default, whether it is required, and what it means.
type Config struct {
	HANA            HANA          `key:"hana"`
	BackupDirectory string        `key:"backupDirectory" required:"true" doc:"Directory shared with HANA's container, at the same path in both. Named pipes are made here. HANA must be allowed to create and rename files in it, and it must not be sticky. No element of its path may be a symbolic link: none is followed, because HANA could lead it elsewhere."`
	Door            string        `key:"door" default:"auto" doc:"How backups come in: fifo (named pipes only), spool (files that HANA writes to backupDirectory, uploaded from there and then removed), or auto: pipes where the file names are known before, with a rescue of files that HANA writes past them, and files for deltas and for a HANA that refuses pipes. Restores follow it: with spool their data is laid out as files, which needs room."`
	Spool           Spool         `key:"spool"`
	Logs            Logs          `key:"logs"`
	StateDirectory  string        `key:"stateDirectory" default:"/var/lib/pipestreamer" doc:"Directory of the journal and, by default, of the socket. HANA's container must not be able to write to it."`
	HTTP            HTTP          `key:"http"`
	Metrics         Metrics       `key:"metrics"`
	Store           Store         `key:"store"`
	Compression     string        `key:"compression" default:"off" doc:"Compress HANA's bytes with zstd before they are stored: off, or a level: fastest, default, better or best. HANA compresses columns already, so measure what it gives. What does not shrink is noticed and passed on as it is."`
	Encryption      Encryption    `key:"encryption"`
	MemoryBudget    Size          `key:"memoryBudget" default:"512MiB" doc:"Upper limit of the part buffers of all streams together; with compression or encryption, those of the codec included. A stream takes store.concurrency + 1 parts while there is room, and never fewer than 2. Set the container's memory limit to at least 256MiB more: the program takes about 60MiB beside the buffers, a long manifest more."`
	Timeouts        Timeouts      `key:"timeouts"`
	OnLost          string        `key:"onLost" default:"keep" doc:"What happens to HANA's catalog entry of a lost backup, one that HANA takes for good and the store does not have: keep, or delete-catalog-entry (BACKUP CATALOG DELETE). Deltas are refused either way until a complete backup succeeds."`
	ShutdownGrace   time.Duration `key:"shutdownGrace" default:"20s" doc:"How long running jobs may go on after SIGTERM before they are canceled. Keep it well below terminationGracePeriodSeconds."`
	Log             Log           `key:"log"`
	Notify          Notify        `key:"notify"`
	Tracing         Tracing       `key:"tracing"`
	// sources says of each key that was given where that was.
	sources map[string]string
}

// HANA says how to reach the database.
type HANA struct {
	SID          string `key:"sid" required:"true" doc:"System id, three characters. It is the first element of every object key and lets manifests be found while HANA is down."`
	Host         string `key:"host" default:"localhost" doc:"Host of SYSTEMDB's SQL port; in a pod, localhost."`
	Port         int    `key:"port" required:"true" doc:"SQL port of SYSTEMDB, 3<instance>13."`
	User         string `key:"user" required:"true" doc:"Database user in SYSTEMDB that may back up and recover."`
	PasswordFile string `key:"passwordFile" required:"true" doc:"File with the password of that user. It is read at each new connection, so a rotated password needs no restart."`
	TLS          TLS    `key:"tls"`
}

// TLS says how the connection to HANA is protected.
type TLS struct {
	Enabled    bool   `key:"enabled" default:"false" doc:"Connect with TLS. Set it whenever hana.host is not this pod."`
	CAFile     string `key:"caFile" doc:"PEM file with the authorities that are trusted; by default those of the image."`
	ServerName string `key:"serverName" doc:"Name expected in HANA's certificate; by default hana.host."`
	Insecure   bool   `key:"insecureSkipVerify" default:"false" doc:"Accept any certificate of HANA. For tests."`
}

// Spool says how files are taken that HANA writes to the volume.
type Spool struct {
	KeepFor time.Duration `key:"keepFor" default:"0s" doc:"How long the files of a data backup stay on the volume after the store has them, proven. What the store does not have is never removed."`
	Owner   int           `key:"owner" default:"-1" doc:"Numeric user id of HANA's <sid>adm. Only its files are taken. With -1 those of the daemon's own user and of the directory's owner are; on a volume that belongs to root, as with an fsGroup in Kubernetes, it has to be set unless the daemon runs as the same user as HANA."`
	Follow  bool          `key:"follow" default:"false" doc:"Upload a file while HANA still writes it, instead of when it is finished."`
	Punch   bool          `key:"punch" default:"false" doc:"With spool.follow: free the blocks of a file that the store has while HANA writes it, so that a backup larger than the volume's free space passes through. The daemon must be allowed to write HANA's files. What is freed cannot be read again: if the upload fails afterwards, the backup does. Nothing slows HANA down: a store that is slower than HANA for long lets the volume fill all the same."`
}

// Logs says which log and catalog backups are shipped.
type Logs struct {
	Directory string        `key:"directory" doc:"HANA's basepath_logbackup and basepath_catalogbackup, at the same path in both containers; log and catalog backups below it (SYSTEMDB, DB_<tenant>) are shipped continuously. No element of its path may be a symbolic link. By default none are."`
	KeepFor   time.Duration `key:"keepFor" default:"0s" doc:"How long a log backup stays on the volume after the store has it, checked twice."`
	Verify    string        `key:"verify" default:"read" doc:"The second check before a log backup is removed from the volume: read (the object is read back and compared) or stat (its size is)."`
}

// HTTP says where the interface for jobs listens, and who may use it.
type HTTP struct {
	Listen      string            `key:"listen" doc:"TCP address (host:port) for the interface; by default there is none. Every caller has to prove who it is, also on loopback, which all containers of a pod share: with http.tokenFile, http.tokens, http.tls.clientCAFile or http.tokenReview.audience. docs/access.md tells how."`
	Socket      string            `key:"socket" default:"<stateDirectory>/pipestreamer.sock" doc:"Unix socket of the interface, mode 0660. The daemon's own user and root are operators there; other users need an entry uid:<number> in http.operators, http.triggers or http.readers."`
	TokenFile   string            `key:"tokenFile" doc:"File with a bearer token of at least 16 characters; who sends it is token. A changed file is noticed without a restart."`
	Tokens      map[string]string `key:"tokens" doc:"Further tokens, one for each caller: the name, and the file that holds the token. Who sends it is token:<name>."`
	TLS         ServerTLS         `key:"tls"`
	TokenReview TokenReview       `key:"tokenReview"`
	Operators   []string          `key:"operators" default:"token" doc:"Who may do everything. Identities are token, token:<name>, certificate:<common name>, serviceaccount:<namespace>/<name> and uid:<number>."`
	Triggers    []string          `key:"triggers" doc:"Who may start backups and verifications, cancel their own, and look at what readers may."`
	Readers     []string          `key:"readers" doc:"Who may look at jobs, backups, the log, the bandwidth and the status page. Settings and profiles (/debug/) are for operators."`
	RateLimit   int               `key:"rateLimit" default:"20" doc:"Requests a second that one identity may send for long, 1 to 1000; for a moment twice as many, and at least 100. Following a job is one request. The daemon's own user and root are not limited on the socket."`
}

// ServerTLS says how http.listen is protected. The files are read again when
// they change.
type ServerTLS struct {
	CertFile     string `key:"certFile" doc:"PEM file with the certificate of http.listen, followed by those between it and its authority. With it the listener speaks TLS 1.2 or later only. A changed pair of files is noticed without a restart; one that cannot be used is logged, and the earlier one stays in use; without one since the start nobody is let in over TCP."`
	KeyFile      string `key:"keyFile" doc:"PEM file with the key of http.tls.certFile."`
	ClientCAFile string `key:"clientCAFile" doc:"PEM file with the authorities of client certificates. Who shows a certificate of theirs and sends no token is certificate:<common name>. A certificate is not required."`
}

// TokenReview says how Kubernetes is asked about tokens.
type TokenReview struct {
	Audience  string `key:"audience" doc:"Audience of service account tokens. With it, tokens that no file has are shown to Kubernetes (TokenReview), and who sends one that was issued for this audience is serviceaccount:<namespace>/<name>. Use one of your own, such as pipestreamer. An answer holds for up to 60s."`
	URL       string `key:"url" doc:"Address of Kubernetes' API server, https://host:port; in a pod it is known."`
	CAFile    string `key:"caFile" default:"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt" doc:"PEM file with the authorities of the API server."`
	TokenFile string `key:"tokenFile" default:"/var/run/secrets/kubernetes.io/serviceaccount/token" doc:"File with the daemon's own token, read for each review. Its service account has to be allowed to create tokenreviews (ClusterRole system:auth-delegator)."`
}

// Metrics says where metrics and probes listen.
type Metrics struct {
	Listen string `key:"listen" default:"127.0.0.1:9095" doc:"TCP address of /metrics, /startupz, /healthz and /readyz. It carries no authentication and changes nothing."`
}

// Store says where objects go: an rclone remote without a name.
type Store struct {
	Type            string            `key:"type" required:"true" doc:"Type of the rclone remote, such as s3, azureblob, swift or sftp."`
	Root            string            `key:"root" required:"true" doc:"Bucket or container, and optionally a path in it, below which all objects lie."`
	Options         map[string]string `key:"options" doc:"Options of the rclone remote by their rclone names."`
	Secrets         map[string]string `key:"secrets" doc:"Options that are secret: the name, and the file that holds the value. Those of S3 credentials (access_key_id, secret_access_key, session_token) are read again when the store refuses them, without store.crypt also in the middle of a stream; others when the daemon starts."`
	Crypt           Crypt             `key:"crypt"`
	Streams         int               `key:"streams" default:"32" doc:"Uploads that must be able to run at once: at least the volumes of the largest database, and one; with logs.directory 8 more for each database."`
	Concurrency     int               `key:"concurrency" default:"16" doc:"Parts of one stream that are on their way at once while memoryBudget has room, 1 to 64. A store that is quick needs few, one that is far away many."`
	MaxParts        int               `key:"maxParts" default:"10000" doc:"Parts of one object at most, 1 to 10000; a longer stream goes on in a further object. Lower it for a store that takes fewer."`
	PartSize        Size              `key:"partSize" doc:"Size of a part, 5MiB to 5GiB. By default it is chosen for each stream from its size and memoryBudget."`
	Checksum        string            `key:"checksum" default:"sha256" doc:"sha256, or crc64nvme: manifests then have the CRC-64/NVME of each part only, and no SHA-256 of streams and objects, which saves half a CPU second for each GiB. Stores other than s3 and azureblob, and log backups, keep the SHA-256."`
	OutageTolerance time.Duration     `key:"outageTolerance" default:"15m" doc:"How long a part is tried again while the store does not answer or fails. HANA waits meanwhile. Only s3 and azureblob without store.crypt can do that: with any other type, and with crypt, a stream cannot be rewound, and an outage fails the backup after what rclone itself tries again. The last attempt begins at most 22s after it and is bounded by store.stallTimeout."`
	StallTimeout    time.Duration     `key:"stallTimeout" default:"5m" doc:"How long a connection to the store may be silent."`
	Bandwidth       Bandwidth         `key:"bandwidth" default:"off" doc:"Most bytes a second to and from the store, both together and shared evenly by all streams: off, a rate such as 50MiB/s, or a timetable of entries [DAY-[DAY-]]HH:MM,LIMIT such as 'Mon-Fri-07:00,50MiB/s Mon-Fri-20:00,off'. The entry that began last holds, by the clock of the process (TZ). A limit has to let memoryBudget pass within store.outageTolerance. Changed while the daemon runs with pipestreamer bandwidth; manifests and other small documents are not limited. A limited stream counts as waiting for the store."`
	LeftoverAge     time.Duration     `key:"leftoverAge" default:"72h" doc:"What interrupted uploads left in the store is removed at start and daily once it is older. It has to exceed the longest backup."`
	// SecretValues are the contents of the files that Secrets names.
	SecretValues map[string]Secret
}

// Crypt says how objects are encrypted before they leave.
type Crypt struct {
	PasswordFile string `key:"passwordFile" doc:"File with the password of rclone crypt. With it, the content of every object is encrypted; without, it is not. A lost password is a lost backup. Outages are not absorbed then (store.outageTolerance)."`
	SaltFile     string `key:"saltFile" doc:"File with the second password (salt) of rclone crypt."`
	// Password and Salt are the contents of these files, empty without.
	Password Secret
	Salt     Secret
}

// Encryption says for whom HANA's bytes are encrypted with age.
type Encryption struct {
	Recipients     []string `key:"recipients" doc:"X25519 recipients of age (age1…). With any, HANA's bytes are encrypted for all of them before they are stored, and each can decrypt. Manifests and indexes stay readable. A variable separates them by commas."`
	RecipientsFile string   `key:"recipientsFile" doc:"File with further recipients, one a line, as for age -R."`
	IdentityFile   string   `key:"identityFile" doc:"File with identities of age (AGE-SECRET-KEY-1…), as for age -i. It is needed for restores, and for verifications of the decrypted bytes, only, and read at each of them: a daemon that backs up need not have it."`
}

// Timeouts bound what could otherwise wait for ever.
type Timeouts struct {
	Open   time.Duration `key:"open" default:"10m" doc:"How long HANA may take from the statement to the first byte of any stream, and from the end of one stream to the first byte of the next while no other is open."`
	Stall  time.Duration `key:"stall" default:"2m" doc:"How long a stream may stand still before a warning, a metric and the job's record name the side that it waits for. Nothing is ended by it."`
	Idle   time.Duration `key:"idle" default:"1h" doc:"How long HANA may write nothing at all, to no stream, before its backup is cancelled. Waiting for the store does not count; store.outageTolerance bounds that."`
	Answer time.Duration `key:"answer" default:"5m" doc:"How long HANA may take to answer, and its catalog to agree, after its last stream ended."`
	End    time.Duration `key:"end" default:"30s" doc:"How long a stream may stay without a byte and without an end after HANA has answered."`
	Commit time.Duration `key:"commit" default:"10m" doc:"How long making all objects of a backup visible may take beside an outage of the store (store.outageTolerance and store.stallTimeout are added), plus one second for each 32 MiB, because some stores copy objects at commit."`
	Clean  time.Duration `key:"clean" default:"1m" doc:"How long each step of cleaning up may take."`
}

// Log says what is logged, to standard error.
type Log struct {
	Level  string `key:"level" default:"info" doc:"debug, info, warn or error."`
	Format string `key:"format" default:"json" doc:"json, or console for people."`
}

// Notify says whom to tell what has happened.
type Notify struct {
	URLFile    string   `key:"urlFile" doc:"File with the URL of a webhook that is told how jobs end (docs/monitoring.md). The URL is a secret: it is shown nowhere. By default nobody is told."`
	SecretFile string   `key:"secretFile" doc:"File with the secret that notifications are signed with, as in Standard Webhooks: whsec_ and the base64 of 24 to 64 random bytes. By default they are not signed."`
	CAFile     string   `key:"caFile" doc:"PEM file with the authorities that are trusted for the webhook; by default those of the image."`
	Template   string   `key:"template" doc:"File with a Go template (text/template) that makes the JSON of a notification, read for each. By default it is the event itself."`
	On         []string `key:"on" default:"job.failed,job.lost,job.recovered,logs.trouble,logs.recovered" doc:"The events that are told: job.succeeded, job.recovered (a success after a failure), job.failed, job.canceled, job.lost, logs.trouble, logs.recovered."`
}

// Tracing says where traces go.
type Tracing struct {
	Endpoint string `key:"endpoint" doc:"URL of an OpenTelemetry collector (OTLP over HTTP), such as http://otel-collector:4318, that gets a trace of each job when it has ended. By default nothing is traced."`
}
