package backup

import (
	"context"
	"io"
	"time"
)

// Source is a front door of a backup: it yields each stream of one plan once,
// as HANA produces it. A Source serves one plan and is not used again.
type Source interface {
	// Prepare arms every stream of plan. When it returns nil, HANA may be told
	// to start: whichever name it opens, a reader is already there. On error
	// nothing is left armed.
	Prepare(ctx context.Context, plan Plan) error
	// Open waits until HANA produces the first byte of s and returns a reader
	// of its bytes. io.EOF from the reader means that the writer went away; it
	// is not success. Closing the reader before EOF makes HANA's next write
	// fail (EPIPE). When ctx ends, Open and any Read return its cause.
	Open(ctx context.Context, s Stream) (io.ReadCloser, error)
	// Watch returns when something intrudes on the streams (a regular file
	// where a pipe stood, a replaced pipe, a second writer), with an error that
	// names it, or nil when ctx ends or Close is called.
	Watch(ctx context.Context) error
	// Report tells what each stream of the plan saw so far.
	Report() []StreamReport
	// Close releases whatever HANA may still be blocked on and removes what
	// Prepare made. It is idempotent and bounded in time.
	Close() error
}

// Discoverer is a Source that meets files which the plan does not name: HANA adds
// parts and volumes as it likes.
type Discoverer interface {
	// Found yields the stream of each such file, once, as soon as HANA begins to
	// write it. It is closed by Settle and by Close.
	Found() <-chan Stream
	// Settle looks once more and closes Found. It is for a backup that HANA calls
	// done: what is not there by then does not come.
	Settle(ctx context.Context) error
}

// Sink is a front door of a restore: it hands each stream of one plan to HANA,
// from byte 0 for each time that HANA opens it.
type Sink interface {
	// Prepare makes every stream of plan openable for HANA. On error nothing
	// is left behind.
	Prepare(ctx context.Context, plan Plan) error
	// Serve answers every opening of s by HANA with the bytes of a new reader
	// from open, until ctx ends (then it returns nil) or open or a read fails
	// (then HANA sees a short stream and Serve returns the error). A reader
	// that HANA closes early is normal: HANA reads headers first. One that is an
	// io.WriterTo is asked to write instead of being read.
	Serve(ctx context.Context, s Stream, open func(context.Context) (io.ReadCloser, error)) error
	// Report tells what each stream of the plan saw so far.
	Report() []StreamReport
	// Close releases HANA and removes what Prepare made. It is idempotent and
	// bounded in time.
	Close() error
}

// StreamReport is what a front door saw of one stream.
type StreamReport struct {
	StreamID
	// Path is the path that HANA opened, empty when it opened none.
	Path string `json:"path,omitempty"`
	// Opens counts the openings by HANA that carried bytes.
	Opens int `json:"opens"`
	// EmptyOpens counts the openings that ended without a byte; with O_DIRECT
	// refused by the pipe this is the only trace of it.
	EmptyOpens int `json:"empty_opens,omitempty"`
	// DirectOpens counts the openings that the kernel refused because of
	// O_DIRECT; they are among EmptyOpens.
	DirectOpens int `json:"direct_opens,omitempty"`
	// Complete counts the times that all bytes passed: a backup's end of file,
	// a restore's stream that HANA read to its last byte.
	Complete int `json:"complete"`
	// Bytes is what passed in the current or last opening.
	Bytes int64 `json:"bytes"`
	// OpenedAt and ClosedAt are of the first opening with bytes and of its end.
	OpenedAt time.Time `json:"opened_at,omitzero"`
	ClosedAt time.Time `json:"closed_at,omitzero"`
	// Door says which front door the bytes came through.
	Door string `json:"door,omitempty"`
	// Written is what HANA has written of a file that is not read yet.
	Written int64 `json:"written,omitempty"`
	// Bypass says in words how HANA wrote past the pipe of this stream.
	Bypass string `json:"bypass,omitempty"`
	// Intrusion is what should not have happened to this stream, in words.
	Intrusion string `json:"intrusion,omitempty"`
}

// Object is what a store holds under a key.
type Object struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// SHA256 is of the whole object, in hex; empty when only listed, and for an
	// upload without one.
	SHA256 string `json:"sha256,omitempty"`
	// Parts are the pieces in which it was written, in order; their sizes add
	// up to Size. Empty when only listed.
	Parts []Part `json:"parts,omitempty"`
	// Encoding is how HANA's bytes became the stream of which this object is a
	// segment, in the order in which it was done; see [EncodedKey]. Size, SHA256
	// and Parts are always of what is stored.
	Encoding []string `json:"encoding,omitempty"`
	// ModTime is the store's time, zero for an object not yet committed.
	ModTime time.Time `json:"mod_time,omitzero"`
}

// Part is one piece of a multipart upload.
type Part struct {
	Size int64 `json:"size"`
	// SHA256 in hex; empty where nothing but the CRC was made.
	SHA256 string `json:"sha256,omitempty"`
	// CRC64NVME in hex is the checksum of that name in S3. It costs a twentieth
	// of a SHA-256 and is what a restore compares. Versions of the manifest
	// before 3 do not have it.
	CRC64NVME string `json:"crc64nvme,omitempty"`
}

// Store holds objects under keys that are relative to its root. Nothing is
// visible at a key until its upload is committed.
type Store interface {
	// Begin starts an upload. It reserves the memory that guarantees progress
	// and waits for it until ctx ends. It does not overwrite: a key that exists
	// at commit time is an error of Commit.
	Begin(ctx context.Context, key string, options UploadOptions) (Upload, error)
	// Open reads length bytes of the object at key from offset; length -1
	// reads to its end. A short object gives io.ErrUnexpectedEOF. It returns
	// ErrNotFound when there is none.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Stat returns key, size and time of one object, or ErrNotFound.
	Stat(ctx context.Context, key string) (Object, error)
	// List returns the objects whose key begins with prefix, which ends in a
	// slash, sorted by key. Nothing there is an empty list.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Remove deletes the object at key. An absent key is not an error.
	Remove(ctx context.Context, key string) error
}

// StreamOpener reads back a stream that was written as segments.
type StreamOpener interface {
	// OpenStream returns the bytes of objects in order, fetched ahead in
	// parallel. A byte is delivered only after the part that holds it was
	// checked against its checksum; a mismatch is an ErrCorrupt. io.EOF means
	// that every byte of every object was delivered and matched. Objects with an
	// Encoding are decoded: ErrNoIdentity says that this cannot be done here.
	// [Checked] compares what comes with the stream that was stored.
	OpenStream(ctx context.Context, objects []Object) (io.ReadCloser, error)
}

// UploadOptions shape an upload.
type UploadOptions struct {
	// EstimatedSize in bytes sizes the parts; 0 means unknown. A wrong
	// estimate costs efficiency, never the upload.
	EstimatedSize int64
	// Encode says that these are HANA's bytes: a store that compresses or
	// encrypts does so, under [EncodedKey]. What pipestreamer itself has to read
	// stays as it is.
	Encode bool
	// AtHand says that all bytes are there already, so that the upload ends
	// soon. Its memory comes from a reserve of its own: it waits for others of
	// its kind and never for a stream.
	AtHand bool
	// NoSHA256 leaves the SHA-256 of the stream and of its objects out, where the
	// store can do without: what remains is the CRC of each part.
	NoSHA256 bool
	// Patient says that so much depends on the upload that an outage of the
	// store is tolerated from its beginning: otherwise Begin fails soon, while
	// nothing is at stake yet.
	Patient bool
	// Progress, when set, is called with the number of bytes of the stream that
	// the store has newly acknowledged. It must not block.
	Progress func(bytes int64)
	// Safe, when set, is called with the offset in the stream before which the
	// store has acknowledged every byte, each time that it has grown. A store that takes a
	// stream in one piece never calls it. It may be called by several goroutines
	// at once, out of order, and must not block for long.
	Safe func(offset int64)
	// Waiting, when set, is called with true when Consume cannot take another
	// byte before the store has taken some, and with false when it can again.
	// It is never called by two goroutines at once and must not block.
	Waiting func(forStore bool)
	// Trouble, when set, is called with each error after which the store is
	// asked once more, and with nil when that has helped. It may be called by
	// several goroutines at once and must not block.
	Trouble func(err error)
}

// Upload is a stream on its way into one or more objects. Its life is Begin,
// one Consume, then Commit or Abort. Nothing is visible until Commit.
type Upload interface {
	// Consume reads r to io.EOF and hands its bytes to the store. On any error
	// the upload is spoiled: Commit will refuse, Abort is due. An empty r is
	// an error (ErrEmptyStream). r is not closed. When it returns, the memory
	// that Begin reserved is free again.
	Consume(ctx context.Context, r io.Reader) (Stored, error)
	// Commit makes the objects visible and checks their sizes in the store. It
	// may be called again after an error; after success it does nothing.
	Commit(ctx context.Context) error
	// Abort removes every trace of the upload, objects made visible by Commit
	// included, and frees its memory. It may be called again, and after
	// Commit. It works on a context of its own life: pass one that is not
	// cancelled (context.WithoutCancel) and bounded.
	Abort(ctx context.Context) error
}

// Stored is what Consume put into the store, not yet visible.
type Stored struct {
	// Bytes and SHA256 (hex) are of the whole stream, as Consume read it. SHA256 is
	// empty when it was not asked for.
	Bytes  int64
	SHA256 string
	// Objects are the segments in order.
	Objects []Object
}

// Trigger is HANA as a backup sees it. Statements that change something reach
// HANA once: they are never sent again after a lost connection. An error that
// wraps ErrNotSent says that a statement did not reach HANA at all.
type Trigger interface {
	// Plan checks that a backup of database may start now (it exists and is
	// online, the system is primary, no data backup runs) and returns SID,
	// database, kind, version and the streams that HANA will write. The caller
	// fills in the rest.
	Plan(ctx context.Context, database string, kind Kind) (Plan, error)
	// Backup issues BACKUP DATA and returns when HANA has answered: nil or a
	// *HANAError. Any other error means that the answer is not known and the
	// catalog has to be asked. Ending ctx abandons the wait, not the backup.
	Backup(ctx context.Context, plan Plan) error
	// Cancel asks HANA to cancel the running backup of plan. No such backup is
	// not an error.
	Cancel(ctx context.Context, plan Plan) error
	// Entry returns the catalog's row and files of the backup that plan
	// started, found by its job id in the comment, or ErrNotFound.
	Entry(ctx context.Context, plan Plan) (CatalogEntry, error)
	// Delete removes the backup of plan with the given backup id from HANA's
	// catalog, and no file. It is for a backup that HANA takes for good and
	// that the store does not have.
	Delete(ctx context.Context, plan Plan, backupID int64) error
}

// Historian is what HANA knows of earlier backups. It only asks.
type Historian interface {
	// Base returns the entry of the backup on which a delta of kind would build
	// if it began now, or ErrNotFound: the newest successful complete backup of a
	// differential one, the newest successful data backup of an incremental one.
	Base(ctx context.Context, database string, kind Kind) (CatalogEntry, error)
	// Breaks returns when and why the log of database was interrupted, so that no
	// recovery can go past that moment, sorted by time.
	Breaks(ctx context.Context, database string) ([]Break, error)
	// Logs returns the entries of the log backups of database whose backup ids
	// are from first to last, sorted.
	Logs(ctx context.Context, database string, first, last int64) ([]CatalogEntry, error)
}

// Break is a row of M_BACKUP_HISTORY_BROKEN.
type Break struct {
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"`
	Message string    `json:"message,omitempty"`
}

// Recovery is what RECOVER is told when HANA has to find its way by its backup
// catalog: to a point in time, or to one backup that may be a delta.
type Recovery struct {
	JobID, SID string
	// Database is recovered.
	Database string
	// Source is the database whose backups are used, and SourceSID its system;
	// empty when it is the same.
	Source, SourceSID string
	// Until is the point in time; zero means exactly the backup BackupID.
	Until time.Time
	// BackupID is the data backup to begin with; 0 leaves that to HANA.
	BackupID int64
	// CatalogPath, LogPaths and DataPath are directories, the same in HANA's
	// container.
	CatalogPath string
	LogPaths    []string
	DataPath    string
}

// Recoverer is HANA as the restore of a tenant sees it. Its statements reach
// HANA once, as those of a Trigger.
type Recoverer interface {
	// CheckRecovery makes sure that the system that answers is the one of
	// plan.SID, is primary, knows the tenant of plan and does not back it up
	// now. It changes nothing.
	CheckRecovery(ctx context.Context, plan Plan) error
	// Stop stops the tenant of plan, if it runs.
	Stop(ctx context.Context, plan Plan) error
	// Recover issues RECOVER DATA … CLEAR LOG from the complete backup at
	// plan.Path(), for a stopped tenant. Errors and ctx are as for
	// Trigger.Backup. After an error the tenant stays stopped, because its data
	// may be half replaced.
	Recover(ctx context.Context, plan Plan) error
	// RecoverTo issues the statement that r describes, for a stopped tenant.
	// Errors and ctx are as for Recover.
	RecoverTo(ctx context.Context, r Recovery) error
	// Start starts the tenant of plan, if it does not run: RECOVER was seen to
	// start it by itself.
	Start(ctx context.Context, plan Plan) error
}
