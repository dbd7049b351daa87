package main

import (
	"fmt"
	"maps"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// freshStore is storeBeside with the secrets as their files have them now. Without
// all of them there is none: a store without its password of crypt would be another
// one, and not encrypted.
func freshStore(c *config.Config) (uploader.Config, error) {
	now := *c
	if problems := now.ReadStoreSecrets(); len(problems) > 0 {
		return uploader.Config{}, &config.Error{Problems: problems}
	}
	return storeBeside(&now)
}

func storeConfig(c *config.Config) uploader.Config {
	s := &c.Store
	options := make(map[string]string, len(s.Options)+len(s.SecretValues))
	maps.Copy(options, s.Options)
	for name, value := range s.SecretValues {
		options[name] = value.Reveal()
	}
	var crypt map[string]string
	if !s.Crypt.Password.Empty() {
		// Names stay readable: a restore by hand finds the objects by them.
		crypt = map[string]string{"password": s.Crypt.Password.Reveal(), "filename_encryption": "off", "directory_name_encryption": "false"}
		if !s.Crypt.Salt.Empty() {
			crypt["password2"] = s.Crypt.Salt.Reveal()
		}
	}
	return uploader.Config{
		Type: s.Type, Root: s.Root, Options: options, Crypt: crypt, MemoryBudget: int64(c.MemoryBudget), Streams: s.Streams,
		Concurrency: s.Concurrency, MaxParts: s.MaxParts, PartSize: int64(s.PartSize), OutageTolerance: s.OutageTolerance, StallTimeout: s.StallTimeout,
		Bandwidth: bandwidthOf(s.Bandwidth),
		Refresh:   func() (map[string]string, error) { return readSecrets(s.Secrets) },
	}
}

// storeBeside is storeConfig with what the codec leaves of the memory budget.
func storeBeside(c *config.Config) (uploader.Config, error) {
	shape := storeConfig(c)
	taken := codecConfig(c).Memory()
	shape.MemoryBudget -= taken
	need := 2 * int64(c.Store.Streams) * max(int64(c.Store.PartSize), smallestPart)
	if shape.MemoryBudget < need {
		return uploader.Config{}, &failure{
			status: statusUsage,
			err: fmt.Errorf("configuration, memoryBudget: %s: expected at least %s: compression and encryption take %s, and %d streams (store.streams) 2 parts each",
				byteText(int64(c.MemoryBudget)), byteText(taken+need), byteText(taken), c.Store.Streams),
		}
	}
	return shape, nil
}

// smallestPart is the least that a part takes.
const smallestPart = 5 << 20

func codecConfig(c *config.Config) codec.Config {
	e := &c.Encryption
	return codec.Config{
		Compression: c.Compression, Recipients: e.Recipients, RecipientsFile: e.RecipientsFile, IdentityFile: e.IdentityFile, Streams: c.Store.Streams,
	}
}

func triggerConfig(c *config.Config) hdbtrigger.Config {
	h := &c.HANA
	protection := hdbtrigger.TLS{Off: true}
	if h.TLS.Enabled {
		protection = hdbtrigger.TLS{RootCAFile: h.TLS.CAFile, ServerName: h.TLS.ServerName, Insecure: h.TLS.Insecure}
	}
	return hdbtrigger.Config{
		AllowParts: c.Door != config.DoorFIFO,
		Host:       h.Host, Port: h.Port, User: h.User, PasswordFile: h.PasswordFile, TLS: protection,
	}
}

func logsConfig(c *config.Config) logship.Config {
	return logship.Config{SID: c.HANA.SID, Tool: "pipestreamer " + versionText(), KeepFor: c.Logs.KeepFor, Verify: c.Logs.Verify}
}

func spoolConfig(c *config.Config) spool.Config {
	shape := spoolConfigOf(c, c.BackupDirectory)
	shape.Follow, shape.Punch = c.Spool.Follow, c.Spool.Punch
	return shape
}

func spoolConfigOf(c *config.Config, directory string) spool.Config {
	shape := spool.Config{Directory: directory}
	if c.Spool.Owner >= 0 {
		shape.Owners = []uint32{uint32(c.Spool.Owner)}
	}
	return shape
}

func jobConfig(c *config.Config) job.Config {
	t := &c.Timeouts
	return job.Config{
		Tool: "pipestreamer " + versionText(), SID: c.HANA.SID, Directory: c.BackupDirectory, StateDirectory: c.StateDirectory,
		OpenTimeout: t.Open, StallTimeout: t.Stall, IdleTimeout: t.Idle, AnswerTimeout: t.Answer, EndTimeout: t.End,
		ShipsLogs: c.Logs.Directory != "", Door: job.Door(c.Door), KeepFor: c.Spool.KeepFor,
		OutageTolerance: c.Store.OutageTolerance,
		CleanTimeout:    t.Clean, DeleteLost: c.OnLost == config.OnLostDelete, NoSHA256: c.Store.Checksum == config.ChecksumCRC64NVME,
		// The store gives up by itself before these.
		CommitTimeout: t.Commit + c.Store.OutageTolerance + c.Store.StallTimeout,
		StoreTimeout:  c.Store.OutageTolerance + c.Store.StallTimeout + time.Minute,
	}
}

// heapBase is what Go's heap may take beside buffers before the collector works
// harder: less than the container's limit has to leave beside memoryBudget.
const heapBase = 160 << 20

// heapLimit is GOMEMLIMIT where the environment sets none. Part buffers are not in
// Go's heap (pkg/uploader). Those of the codec are, and so are those that rclone
// makes where it collects the parts of a stream by itself.
func heapLimit(c *config.Config) int64 {
	limit := heapBase + codecConfig(c).Memory()
	if c.Store.Crypt.PasswordFile != "" || c.Store.Type != "s3" && c.Store.Type != "azureblob" {
		limit += int64(c.MemoryBudget)
	}
	return limit
}
