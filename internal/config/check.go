package config

import (
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// maxSocketPath is what fits into sun_path on Linux (unix(7)).
const maxSocketPath = 107

// Limits of a part, from S3 (Amazon S3 user guide, "Multipart upload limits").
const (
	minPartSize = 5 << 20
	maxPartSize = 5 << 30
)

// The values of onLost.
const (
	OnLostKeep   = "keep"
	OnLostDelete = "delete-catalog-entry"
)

// The values of store.checksum.
const (
	ChecksumSHA256    = "sha256"
	ChecksumCRC64NVME = "crc64nvme"
)

// The values of door and of logs.verify.
const (
	DoorAuto   = "auto"
	DoorFIFO   = "fifo"
	DoorSpool  = "spool"
	VerifyRead = "read"
	VerifyStat = "stat"
)

// optionName matches the names that rclone gives its options.
var optionName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// expect reports a problem of key unless ok.
func (l *loader) expect(ok bool, key, format string, arguments ...any) {
	if !ok && l.needs(key) {
		l.report(key, l.entries[key].where, format, arguments...)
	}
}

// check reports every value that cannot be meant and every contradiction. A
// key that did not parse was reported before and is not reported again.
func (l *loader) check() {
	c := l.config
	if c.HTTP.Socket == "<stateDirectory>/pipestreamer.sock" {
		c.HTTP.Socket = filepath.Join(c.StateDirectory, "pipestreamer.sock")
	}
	l.checkHANA(&c.HANA)
	l.checkDirectories(c)
	l.checkFilePlaces(c)
	l.checkSpool(c)
	l.checkListeners(c)
	l.checkAccess(&c.HTTP)
	l.checkStore(&c.Store)
	l.checkEncoding(c)
	part := max(c.Store.PartSize, minPartSize)
	l.expect(c.MemoryBudget/part/2 >= Size(c.Store.Streams), "memoryBudget",
		"%s: expected at least 2 parts of %s for each of %d streams (store.partSize, store.streams)", c.MemoryBudget, part, c.Store.Streams)
	if err := c.CheckBandwidth(c.Store.Bandwidth); err != nil {
		l.expect(false, "store.bandwidth", "%v", err)
	}
	l.checkNotify(&c.Notify)
	l.checkTracing(c.Tracing.Endpoint)
	l.expectPositive("timeouts.open", c.Timeouts.Open)
	l.expectPositive("timeouts.stall", c.Timeouts.Stall)
	l.expectPositive("timeouts.idle", c.Timeouts.Idle)
	l.expectPositive("timeouts.answer", c.Timeouts.Answer)
	l.expectPositive("timeouts.end", c.Timeouts.End)
	l.expectPositive("timeouts.commit", c.Timeouts.Commit)
	l.expectPositive("timeouts.clean", c.Timeouts.Clean)
	l.expectPositive("shutdownGrace", c.ShutdownGrace)
	l.expect(slices.Contains([]string{OnLostKeep, OnLostDelete}, c.OnLost), "onLost", "%q: expected %s or %s", c.OnLost, OnLostKeep, OnLostDelete)
	l.expect(slices.Contains([]string{ChecksumSHA256, ChecksumCRC64NVME}, c.Store.Checksum), "store.checksum", "%q: expected %s or %s", c.Store.Checksum, ChecksumSHA256, ChecksumCRC64NVME)
	l.expect(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", "%q: expected debug, info, warn or error", c.Log.Level)
	l.expect(slices.Contains([]string{"json", "console"}, c.Log.Format), "log.format", "%q: expected json or console", c.Log.Format)
}

func (l *loader) expectPositive(key string, d time.Duration) {
	l.expect(d > 0, key, "%s: expected more than 0", d)
}

func (l *loader) checkHANA(h *HANA) {
	if err := backup.CheckSID(h.SID); err != nil {
		l.expect(false, "hana.sid", "%v", err)
	}
	l.expect(h.Port >= 1 && h.Port <= 65535, "hana.port", "%d: expected a port from 1 to 65535", h.Port)
	_, notAddress := netip.ParseAddr(h.Host)
	l.expect(h.Host != "" && (notAddress == nil || !strings.ContainsAny(h.Host, ":/@?# \t")), "hana.host",
		"%q: expected a host name or address without a port", h.Host)
	for key, text := range map[string]string{"hana.tls.caFile": h.TLS.CAFile, "hana.tls.serverName": h.TLS.ServerName} {
		l.expect(text == "" || h.TLS.Enabled, key, "has no effect while hana.tls.enabled is false")
	}
	l.expect(!h.TLS.Insecure || h.TLS.Enabled, "hana.tls.insecureSkipVerify", "has no effect while hana.tls.enabled is false")
}

func (l *loader) checkDirectories(c *Config) {
	if err := backup.CheckDirectory(c.BackupDirectory); err != nil {
		l.expect(false, "backupDirectory", "%v", err)
	}
	if err := backup.CheckDirectory(c.StateDirectory); err != nil {
		l.expect(false, "stateDirectory", "%v", err)
	}
	l.expect(!within(c.BackupDirectory, c.StateDirectory), "stateDirectory",
		"%s: expected a place outside backupDirectory (%s), which HANA can write to", c.StateDirectory, c.BackupDirectory)
	l.expect(filepath.IsAbs(c.HTTP.Socket) && len(c.HTTP.Socket) <= maxSocketPath, "http.socket",
		"%q: expected an absolute path of at most %d bytes", c.HTTP.Socket, maxSocketPath)
	l.expect(!within(c.BackupDirectory, c.HTTP.Socket), "http.socket",
		"%s: expected a place outside backupDirectory (%s), which HANA can write to", c.HTTP.Socket, c.BackupDirectory)
}

// checkFilePlaces refuses files where HANA's container can read and replace them: a
// token, a key, an authority of its own.
func (l *loader) checkFilePlaces(c *Config) {
	for key, file := range filesOf(c) {
		l.expect(!within(c.BackupDirectory, file), key, "%s: expected a place outside backupDirectory (%s), which HANA can read and write", file, c.BackupDirectory)
		l.expect(!within(c.Logs.Directory, file), key, "%s: expected a place outside logs.directory (%s), which HANA can read and write", file, c.Logs.Directory)
	}
	l.expect(!within(c.Logs.Directory, c.HTTP.Socket), "http.socket",
		"%s: expected a place outside logs.directory (%s), which HANA can write to", c.HTTP.Socket, c.Logs.Directory)
}

func (l *loader) checkSpool(c *Config) {
	l.expect(slices.Contains([]string{DoorAuto, DoorFIFO, DoorSpool}, c.Door), "door", "%q: expected %s, %s or %s", c.Door, DoorAuto, DoorFIFO, DoorSpool)
	l.expect(c.Spool.KeepFor >= 0, "spool.keepFor", "%s: expected 0 or more", c.Spool.KeepFor)
	l.expect(c.Spool.Owner >= -1 && c.Spool.Owner <= math.MaxInt32, "spool.owner", "%d: expected a user id, or -1", c.Spool.Owner)
	l.expect(!c.Spool.Punch || c.Spool.Follow, "spool.punch", "has no effect while spool.follow is false")
	if c.Logs.Directory != "" {
		if err := backup.CheckDirectory(c.Logs.Directory); err != nil {
			l.expect(false, "logs.directory", "%v", err)
		}
		l.expect(!within(c.Logs.Directory, c.StateDirectory), "logs.directory",
			"%s: expected a place without stateDirectory (%s) in it", c.Logs.Directory, c.StateDirectory)
	}
	l.expect(c.Logs.KeepFor >= 0, "logs.keepFor", "%s: expected 0 or more", c.Logs.KeepFor)
	l.expect(slices.Contains([]string{VerifyRead, VerifyStat}, c.Logs.Verify), "logs.verify", "%q: expected %s or %s", c.Logs.Verify, VerifyRead, VerifyStat)
}

// within reports whether path is dir or lies below it.
func within(dir, path string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && dir != "" && relative != ".." && !strings.HasPrefix(relative, "../")
}

func (l *loader) checkStore(s *Store) {
	l.expect(optionName.MatchString(s.Type), "store.type", "%q: expected the name of an rclone backend, such as s3", s.Type)
	for name, value := range s.Options {
		key := "store.options." + name
		l.expect(optionName.MatchString(name), key, "expected the name of an rclone option: a-z, 0-9 and _")
		l.expect(!isSecretOption(name), key, "is a secret: put it into a file and name the file in store.secrets.%s", name)
		l.expect(!hasUser(value), key, "expected a URL without a user in it: stores show their URL in errors, and rclone has options for users and passwords")
	}
	for name, file := range s.Secrets {
		key := "store.secrets." + name
		l.expect(optionName.MatchString(name), key, "expected the name of an rclone option: a-z, 0-9 and _")
		l.expect(file != "", key, "expected the path of a file")
		_, twice := s.Options[name]
		l.expect(!twice, key, "also stands in store.options")
	}
	l.expect(s.Concurrency >= 1 && s.Concurrency <= 64, "store.concurrency", "%d: expected 1 to 64", s.Concurrency)
	l.expect(s.MaxParts >= 1 && s.MaxParts <= 10000, "store.maxParts", "%d: expected 1 to 10000", s.MaxParts)
	l.expect(s.Streams >= 1 && s.Streams <= 1024, "store.streams", "%d: expected 1 to 1024", s.Streams)
	l.expect(s.PartSize == 0 || s.PartSize >= minPartSize && s.PartSize <= maxPartSize, "store.partSize", "%s: expected %s to %s", s.PartSize, Size(minPartSize), Size(maxPartSize))
	l.expectPositive("store.outageTolerance", s.OutageTolerance)
	l.expectPositive("store.stallTimeout", s.StallTimeout)
	l.expect(s.LeftoverAge >= time.Hour, "store.leftoverAge", "%s: expected at least 1h", s.LeftoverAge)
	l.expect(s.Crypt.SaltFile == "" || s.Crypt.PasswordFile != "", "store.crypt.saltFile", "has no effect without store.crypt.passwordFile")
}

// checkEncoding leaves what recipients are to the one who uses them. What they say
// is not shown: it may be an identity by mistake.
func (l *loader) checkEncoding(c *Config) {
	l.expect(slices.Contains([]string{"off", "fastest", "default", "better", "best"}, c.Compression), "compression",
		"%q: expected off, fastest, default, better or best", c.Compression)
	for i, recipient := range c.Encryption.Recipients {
		l.expect(strings.HasPrefix(recipient, "age1"), "encryption.recipients", "recipient %d: expected one of age (age1…)", i+1)
	}
	for key, file := range map[string]string{"encryption.recipientsFile": c.Encryption.RecipientsFile, "encryption.identityFile": c.Encryption.IdentityFile} {
		l.expect(file == "" || filepath.IsAbs(file), key, "%q: expected an absolute path", file)
	}
}

// hasUser reports whether an option is a URL with a user, and so perhaps a password,
// in it, also if it is no valid one otherwise.
func hasUser(value string) bool {
	_, rest, isURL := strings.Cut(value, "://")
	authority, _, _ := strings.Cut(rest, "/")
	return isURL && strings.Contains(authority, "@")
}

// isSecretOption knows the options of rclone's backends that hold secrets.
func isSecretOption(name string) bool {
	if slices.Contains([]string{"key", "pass", "key_pem", "sas_url", "service_account_credentials"}, name) {
		return true
	}
	return slices.ContainsFunc([]string{"secret", "password", "token", "customer_key", "_pass"}, func(word string) bool {
		return strings.Contains(name, word)
	}) && !strings.HasSuffix(name, "_url") && !strings.HasSuffix(name, "_md5") && !strings.HasSuffix(name, "_file")
}

// checkNotify leaves what the files hold, and the names of events, to the one who
// sends.
func (l *loader) checkNotify(n *Notify) {
	for key, file := range map[string]string{"notify.secretFile": n.SecretFile, "notify.caFile": n.CAFile, "notify.template": n.Template} {
		l.expect(file == "" || n.URLFile != "", key, "has no effect without notify.urlFile")
	}
}

// checkTracing does not show what may have a password in it.
func (l *loader) checkTracing(endpoint string) {
	target, err := url.Parse(endpoint)
	good := err == nil && target.Host != "" && target.User == nil && target.RawQuery == "" && (target.Scheme == "http" || target.Scheme == "https")
	l.expect(endpoint == "" || good, "tracing.endpoint", "expected a URL such as http://otel-collector:4318, without user and query")
}
