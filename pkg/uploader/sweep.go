package uploader

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rclone/rclone/lib/random"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Sweep removes what uploads to keys below prefix have left behind and is older
// than olderThan: partial objects, and multipart uploads on s3 and b2. What an
// Abort of this Store could not remove goes whatever its age. Its other uploads
// are left alone in the partial lane only: elsewhere olderThan has to
// exceed the longest upload that may still run, of any program under the root.
// On s3 and b2, prefix also matches keys that go on with other characters: a/b/
// sweeps a/bc/ too (rclone lists without the final slash). Where crypt hides the
// names, the multipart uploads of the whole root are swept, if olderThan is at
// least an hour: they cannot be told apart. Azure drops uncommitted blocks after
// 7 days itself.
//
// What a Check has left behind, under a key of no system, goes with any prefix once
// it is older than olderThan, if that is at least an hour: other programs under the
// root may be checking.
//
// Ages are by the clock of the store. With 0 everything goes, though that clock
// be a day ahead, and a multipart upload that is still listed is an error.
func (s *Store) Sweep(ctx context.Context, prefix string, olderThan time.Duration) error {
	if err := checkPrefix(prefix); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if olderThan == 0 {
		olderThan = -clockSkew
	}
	err := errors.Join(s.abortLeft(ctx, prefix), s.sweepPartial(ctx, prefix, olderThan), s.sweepMultipart(ctx, prefix, olderThan))
	if olderThan >= hiddenAge {
		err = errors.Join(err, s.sweepTrials(ctx, olderThan), s.sweepMultipart(ctx, trialPrefix, olderThan))
	}
	if err != nil {
		return fmt.Errorf("sweep %q: %w", prefix, err)
	}
	return nil
}

// trialPrefix is where Check writes.
const trialPrefix = privatePrefix + "check/"

// sweepTrials removes the objects of a Check that was cut off.
func (s *Store) sweepTrials(ctx context.Context, olderThan time.Duration) error {
	found, err := s.list(ctx, trialPrefix)
	if err != nil {
		return err
	}
	var faults []error
	for _, o := range found {
		if time.Since(o.ModTime(ctx)) >= olderThan {
			faults = append(faults, s.remove(ctx, o.Remote()))
		}
	}
	return errors.Join(faults...)
}

// clockSkew is how far the clock of a store may be ahead of ours.
const clockSkew = 24 * time.Hour

func (s *Store) sweepPartial(ctx context.Context, prefix string, olderThan time.Duration) error {
	found, err := s.list(ctx, privatePrefix)
	if err != nil {
		return err
	}
	var faults []error
	for _, o := range found {
		id, key, _ := strings.Cut(strings.TrimPrefix(o.Remote(), partialPrefix), "/")
		_, live := s.live.Load(id)
		if live || !strings.HasPrefix(o.Remote(), partialPrefix) || !strings.HasPrefix(key, prefix) ||
			time.Since(o.ModTime(ctx)) < olderThan {
			continue
		}
		if err := s.remove(ctx, o.Remote()); err != nil {
			faults = append(faults, err)
			continue
		}
		s.pruneEmpty(ctx, path.Dir(o.Remote()))
		s.log.Info("removed a partial object", zap.String("key", key), zap.Int64("bytes", o.Size()))
	}
	return errors.Join(faults...)
}

// sweepMultipart uses the command "cleanup" of rclone's s3 and b2 backends,
// which works on the root of a remote.
func (s *Store) sweepMultipart(ctx context.Context, prefix string, olderThan time.Duration) error {
	if s.kind != "s3" && s.kind != "b2" {
		return nil
	}
	return s.retry(ctx, "sweep", shortPatience, func(ctx context.Context) error {
		return s.cleanup(ctx, prefix, olderThan)
	})
}

// hiddenAge is the least age of a multipart upload that may be swept without
// looking at its key.
const hiddenAge = time.Hour

// hidesNames says whether the keys below crypt differ from those above.
func hidesNames(crypt map[string]string) bool {
	return len(crypt) > 0 && (crypt["filename_encryption"] != "off" || crypt["directory_name_encryption"] != "false")
}

func (s *Store) cleanup(ctx context.Context, prefix string, olderThan time.Duration) error {
	// A remote of its own, which no change of the credentials has to wait for.
	cfg := s.cfg
	cfg.Options, cfg.Crypt = s.remote.Load().options, nil
	root := path.Join(cfg.Root, prefix)
	if hidesNames(s.cfg.Crypt) {
		if olderThan < hiddenAge {
			return nil
		}
		root = cfg.Root
	}
	below, err := openRemote(ctx, cfg, root)
	if err != nil {
		return err
	}
	base := below.base
	command := base.Features().Command
	age := olderThan.Round(time.Millisecond)
	if _, err := command(ctx, "cleanup", nil, map[string]string{"max-age": age.String()}); err != nil {
		return fmt.Errorf("multipart uploads: %w", err)
	}
	if s.kind != "s3" {
		return nil
	}
	// The command forgets its own errors (backend/s3/s3.go, cleanUp).
	left, err := command(ctx, "list-multipart-uploads", nil, nil)
	if err != nil {
		return fmt.Errorf("multipart uploads: %w", err)
	}
	return checkLeft(left, age)
}

// checkLeft fails if one of uploads, as rclone lists them, is older than age.
func checkLeft(uploads any, age time.Duration) error {
	text, err := json.Marshal(uploads)
	if err != nil {
		return fmt.Errorf("multipart uploads: %w", err)
	}
	var buckets map[string][]struct {
		Key       string
		Initiated time.Time
	}
	if err := json.Unmarshal(text, &buckets); err != nil {
		return fmt.Errorf("multipart uploads: %w", err)
	}
	for bucket, list := range buckets {
		for _, upload := range list {
			// The minute is for those that aged since the command ran.
			if time.Since(upload.Initiated) > age+time.Minute {
				return fmt.Errorf("multipart upload of %s/%s could not be removed", bucket, upload.Key)
			}
		}
	}
	return nil
}

// Check proves that the store works, in the way that a backup will use it: it
// writes, reads back and removes a small object. On s3 it finds out once whether
// the store honours If-None-Match.
func (s *Store) Check(ctx context.Context) error {
	key := trialPrefix + random.String(20)
	content := []byte("pipestreamer checks that this store can be written, read and removed\n" + key + "\n")
	err := s.checkWrite(ctx, key, content)
	if err == nil {
		err = s.checkRead(ctx, key, content)
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), shortPatience)
	defer cancel()
	if err := errors.Join(err, s.remove(clean, key)); err != nil {
		return fmt.Errorf("check the store: %w", err)
	}
	if _, err := s.find(ctx, key); !errors.Is(err, backup.ErrNotFound) {
		return fmt.Errorf("check the store: %s was removed and is still there: %w", key, err)
	}
	return nil
}

func (s *Store) checkWrite(ctx context.Context, key string, content []byte) error {
	if s.kind != "s3" || !s.chunks || s.probed.Load() {
		_, err := s.write(ctx, key, content, s.conditional.Load())
		return err
	}
	first, err := s.write(ctx, key, content, true)
	if isStatus(err, http.StatusNotImplemented) || isStatus(err, http.StatusBadRequest) {
		s.log.Info("the store does not know If-None-Match; only pipestreamer's own look protects existing keys", zap.Error(err))
		s.probed.Store(true)
		_, err = s.write(ctx, key, content, false)
		return err
	}
	if err != nil {
		return err
	}
	return s.probe(ctx, first.key, content)
}

// probe tries to overwrite the object at key and notes whether that is refused.
func (s *Store) probe(ctx context.Context, key string, content []byte) error {
	second, err := s.begin(ctx, key, backup.UploadOptions{EstimatedSize: 1, AtHand: true}, true)
	if err != nil {
		return err
	}
	if _, err := second.Consume(ctx, bytes.NewReader(content)); err != nil {
		return errors.Join(err, s.abandon(ctx, second))
	}
	overwrite := second.segments[0].hidden.complete(ctx)
	if overwrite == nil {
		s.log.Info("the store ignores If-None-Match; only pipestreamer's own look protects existing keys")
		s.probed.Store(true)
		return nil
	}
	if err := s.abandon(ctx, second); err != nil {
		return err
	}
	if !isStatus(overwrite, http.StatusPreconditionFailed) && !isStatus(overwrite, http.StatusConflict) {
		return overwrite
	}
	s.conditional.Store(true)
	s.probed.Store(true)
	return nil
}

func (s *Store) write(ctx context.Context, key string, content []byte, conditional bool) (*upload, error) {
	u, err := s.begin(ctx, key, backup.UploadOptions{EstimatedSize: 1, AtHand: true}, conditional)
	if err != nil {
		return nil, err
	}
	_, err = u.Consume(ctx, bytes.NewReader(content))
	if err == nil {
		err = u.Commit(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.abandon(ctx, u))
	}
	return u, nil
}

// abandon aborts u although ctx may have ended.
func (s *Store) abandon(ctx context.Context, u *upload) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shortPatience)
	defer cancel()
	return u.Abort(ctx)
}

func (s *Store) checkRead(ctx context.Context, key string, content []byte) error {
	o, err := s.find(ctx, key)
	if err != nil {
		return err
	}
	body, err := s.openRange(ctx, o, 0, -1)
	if err != nil {
		return fmt.Errorf("open %s: %w", key, err)
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if !bytes.Equal(got, content) {
		return fmt.Errorf("read %s: %w", key, backup.ErrCorrupt)
	}
	return nil
}
