package uploader

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
)

// credentialGrace is how long a stream waits for other credentials when the
// store refuses those in use: a rotated secret reaches a pod after one to two
// minutes (kubelet's sync period and cache).
const credentialGrace = 3 * time.Minute

// refused tells whether an S3 store has refused the credentials of a request, by
// any of the names that stores have for it. AccessDenied is among them because
// some say no more of a token that has expired; a right that is really missing
// is found by Begin, which does not wait. RequestTimeTooSkewed passes when a
// clock is set. The answer to a HEAD has no body to carry a code: there the SDK
// makes one of the status, Forbidden, Unauthorized or BadRequest, which is the
// status of ExpiredToken (S3 API reference, error responses).
func refused(err error) bool {
	var code interface{ ErrorCode() string }
	return errors.As(err, &code) && slices.Contains([]string{
		"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired",
		"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidSecurity",
		"SignatureDoesNotMatch", "AccessDenied", "Forbidden", "Unauthorized", "BadRequest", "RequestTimeTooSkewed",
	}, code.ErrorCode())
}

// secrets guard the credentials of a Store and what is asked with them.
type secrets struct {
	// generation counts how often they have changed.
	generation atomic.Int64
	// turn is held by the one that renews them.
	turn *semaphore.Weighted
	// access is held by every request, with weight 1, and by a change, with
	// all of it: rclone changes a remote without a lock. Unlike a mutex it can
	// be waited for until a context ends.
	access *semaphore.Weighted
	// warned is the last warning, so that it is told once.
	warned string
	// leave is closed when a change waits for access: parts that are on their
	// way make room, because a slow one would keep all the others waiting.
	leave atomic.Pointer[chan struct{}]
}

const everyRequest = math.MaxInt32

func newSecrets() *secrets {
	s := &secrets{turn: semaphore.NewWeighted(1), access: semaphore.NewWeighted(everyRequest)}
	s.stay()
	return s
}

// stay lets the parts that come next take their time.
func (s *secrets) stay() {
	leave := make(chan struct{})
	s.leave.Store(&leave)
}

// ask makes a request of the remote, which stays as it is meanwhile. It must not
// be nested, and a body that is read later is not part of it.
func (s *Store) ask(ctx context.Context, request func(*remote) error) error {
	if err := s.secrets.access.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer s.secrets.access.Release(1)
	return request(s.remote.Load())
}

// renew reads the secrets again after the store has refused those of generation
// used. It tells whether there are others now. Their values are never logged.
func (s *Store) renew(ctx context.Context, used int64) bool {
	if s.cfg.Refresh == nil || s.kind != "s3" {
		return false
	}
	if s.secrets.turn.Acquire(ctx, 1) != nil {
		return false
	}
	defer s.secrets.turn.Release(1)
	if s.secrets.generation.Load() != used {
		return true
	}
	changed, err := s.changedSecrets()
	if err == nil && len(changed) > 0 {
		err = s.change(ctx, changed)
	}
	if err != nil {
		if ctx.Err() == nil && s.secrets.warned != err.Error() {
			s.secrets.warned = err.Error()
			s.log.Warn("the store refuses the credentials, and others cannot be had", zap.Error(err))
		}
		return false
	}
	if len(changed) == 0 {
		return false
	}
	s.secrets.warned = ""
	s.secrets.generation.Add(1)
	s.log.Info("the store refuses the credentials; going on with changed ones", zap.Strings("changed", slices.Sorted(maps.Keys(changed))))
	return true
}

// changedSecrets returns the renewable options that are not those in use.
func (s *Store) changedSecrets() (map[string]string, error) {
	fresh, err := s.cfg.Refresh()
	if err != nil {
		return nil, fmt.Errorf("read the secrets again: %w", err)
	}
	changed := map[string]string{}
	// Other options would make the objects unreadable (sse_customer_key) or be
	// another store.
	for _, name := range []string{"access_key_id", "secret_access_key", "session_token"} {
		if value, found := fresh[name]; found && value != s.remote.Load().options[name] {
			changed[name] = value
		}
	}
	return changed, nil
}

// change makes the store use the changed options. The uploads of the chunk lane
// are tied to their remote, so it is changed in place when nothing is asked of
// it. Elsewhere a stream of hours may be on its way and cannot be begun again:
// there a new remote serves what comes next.
func (s *Store) change(ctx context.Context, changed map[string]string) error {
	old := s.remote.Load()
	next := *old
	next.options = maps.Clone(old.options)
	maps.Copy(next.options, changed)
	if !s.chunks {
		cfg := s.cfg
		cfg.Options = next.options
		r, err := openRemote(context.WithoutCancel(ctx), cfg, cfg.Root)
		if err != nil {
			return err
		}
		s.remote.Store(r)
		return nil
	}
	close(*s.secrets.leave.Load())
	defer s.secrets.stay()
	if err := s.secrets.access.Acquire(ctx, everyRequest); err != nil {
		return context.Cause(ctx)
	}
	defer s.secrets.access.Release(everyRequest)
	if _, err := old.base.Features().Command(ctx, "set", nil, changed); err != nil {
		return fmt.Errorf("change the credentials: %w", err)
	}
	if s.direct != nil {
		if err := s.direct.use(ctx, next.options); err != nil {
			return fmt.Errorf("change the credentials: %w", err)
		}
	}
	s.remote.Store(&next)
	return nil
}
