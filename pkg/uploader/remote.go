package uploader

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/cache"
	"github.com/rclone/rclone/fs/config/configmap"
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/lib/random"
)

// remoteName is the name under which rclone's own log knows the remote.
const remoteName = "pipestreamer"

// chunkLane tells whether parts of backend kind are sent by this package. It
// lists what the suite has covered: other backends with rclone's
// OpenChunkWriter may insist on their own part size.
func chunkLane(kind string) bool {
	return kind == "s3" || kind == "azureblob"
}

// retriesInside tells whether rclone itself has to repeat a part of backend
// kind: azureblob notes a block before it is sent and refuses to commit one that
// was noted twice (backend/azureblob/azureblob.go, WriteChunk and Close).
func retriesInside(kind string) bool {
	return kind == "azureblob"
}

// remote is an open rclone remote.
type remote struct {
	kind string
	// fs is what objects are written to and read from.
	fs fs.Fs
	// base is fs, or what lies below crypt.
	base fs.Fs
	// chunks says which lane serves it.
	chunks bool
	// options are those of base.
	options map[string]string
}

// openRemote opens the remote of cfg. It asks the store nothing for s3; other
// backends log in or look whether the root is an object.
func openRemote(ctx context.Context, cfg Config, root string) (*remote, error) {
	info, err := fs.Find(cfg.Type)
	if err != nil {
		return nil, fmt.Errorf("store type %q: not one of the backends of this program", cfg.Type)
	}
	cfg.Type = info.Name // rclone also finds a backend by its aliases
	ctx = rcloneContext(ctx, cfg)
	base, err := openBase(ctx, info, cfg, root)
	if err != nil {
		return nil, err
	}
	r := &remote{kind: cfg.Type, fs: base, base: base, options: cfg.Options}
	if len(cfg.Crypt) > 0 {
		if r.fs, err = openCrypt(ctx, cfg.Crypt, base); err != nil {
			return nil, err
		}
	}
	features := r.fs.Features()
	r.chunks = chunkLane(cfg.Type) && features.OpenChunkWriter != nil
	switch {
	case r.chunks:
	case features.PutStream == nil:
		return nil, fmt.Errorf("store type %s cannot stream: it would spool the whole stream to local disk", cfg.Type)
	case features.Move == nil && features.Copy == nil:
		return nil, fmt.Errorf("store type %s can neither move nor copy an object: a stream would be visible before it is complete", cfg.Type)
	}
	return r, nil
}

// rcloneContext carries rclone's settings for one remote. rclone copies them
// into the backend when it is opened; nothing global is changed.
func rcloneContext(ctx context.Context, cfg Config) context.Context {
	ctx, settings := fs.AddConfig(ctx)
	settings.Timeout = fs.Duration(cfg.StallTimeout)
	settings.ConnectTimeout = min(settings.ConnectTimeout, settings.Timeout)
	// rclone would ask s3 for each object of a list when its source was
	// modified, and outside of our look at the remote (backend/s3/s3.go, ModTime).
	settings.UseServerModTime = true
	// The sizes and our own checksums are compared; without this crypt would read
	// back what it has written.
	settings.IgnoreChecksum = true
	switch {
	case retriesInside(cfg.Type):
		// The time limit of the caller's context ends these.
		settings.LowLevelRetries = 10000
	case chunkLane(cfg.Type) && len(cfg.Crypt) == 0:
		// SDK and pacer multiply; our own retries are around them.
		settings.LowLevelRetries = 1
		// We end a silent attempt, before rclone does and sends it again.
		settings.Timeout += settings.Timeout / 8
	default:
		// In the partial lane there is no retry but rclone's.
		settings.LowLevelRetries = 10
	}
	return ctx
}

// ErrBackend is that a backend cannot be opened with options whose names and types
// are right: it is away, or refuses them or the credentials, which may be mended.
var ErrBackend = errors.New("open store")

func openBase(ctx context.Context, info *fs.RegInfo, cfg Config, root string) (fs.Fs, error) {
	if info.Name == "crypt" {
		return nil, errors.New("store type crypt: set the type of what lies below it, and its options under crypt")
	}
	for _, name := range []string{"remote", "upstreams"} {
		if info.Options.Get(name) != nil {
			return nil, fmt.Errorf("store type %s: needs other remotes to be configured, which is not supported", cfg.Type)
		}
	}
	if info.Name == "swift" && cfg.Options["storage_policy"] == "" {
		// rclone would look it up and note it without a lock, once for each
		// upload (backend/swift/swift.go, fetchStoragePolicy).
		return nil, errors.New("store type swift: option \"storage_policy\": expected the policy of the container, as shown by \"swift stat\"")
	}
	options, err := checkOptions(info, cfg.Options)
	if err != nil {
		return nil, fmt.Errorf("store type %s: %w", cfg.Type, err)
	}
	fillOptions(info, cfg, options)
	if info.Name == "s3" {
		// With a final slash s3 does not ask whether the root is an object, an
		// answer it guesses wrongly when HEAD is forbidden (backend/s3/s3.go).
		root = strings.TrimSuffix(root, "/") + "/"
	}
	open := func(ctx context.Context) (fs.Fs, error) {
		return info.NewFs(ctx, remoteName, root, fs.ConfigMap(info.Prefix, info.Options, remoteName, options))
	}
	f, err := openInTime(ctx, cfg.openTimeout, open)
	if errors.Is(err, ErrNotInTime) {
		if reason := whyNotOpen(ctx, open); reason != nil {
			err = fmt.Errorf("%w: %w", err, reason)
		}
	}
	if errors.Is(err, fs.ErrorIsFile) {
		return nil, fmt.Errorf("open store %s root %q: it is an object, expected a place for objects", cfg.Type, root)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s root %q: %w", ErrBackend, cfg.Type, root, err)
	}
	return f, nil
}

// fillOptions sets what the memory budget and our rights demand.
func fillOptions(info *fs.RegInfo, cfg Config, options configmap.Simple) {
	if buffersParts(info.Name) {
		options["chunk_size"] = strconv.FormatInt(cfg.largestPart(), 10) + "B"
		if info.Options.Get("upload_concurrency") != nil {
			options["upload_concurrency"] = "2"
		}
	}
	// A backup program has no business in creating buckets.
	for _, name := range []string{"no_check_bucket", "no_check_container"} {
		if _, set := options[name]; !set && info.Options.Get(name) != nil {
			options[name] = "true"
		}
	}
}

// buffersParts tells whether rclone's own streaming to backend kind keeps
// chunk_size × upload_concurrency in memory.
func buffersParts(kind string) bool {
	return slices.Contains([]string{"s3", "azureblob", "b2", "google cloud storage"}, kind)
}

// checkOptions returns given with its passwords obscured. It refuses, by name,
// what the backend does not have and what this package sets itself.
func checkOptions(info *fs.RegInfo, given map[string]string) (configmap.Simple, error) {
	options := make(configmap.Simple, len(given))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name]
		option := info.Options.Get(name)
		switch {
		case strings.HasPrefix(name, "override."), strings.HasPrefix(name, "global."), name == "description":
			return nil, fmt.Errorf("option %q: refused, it belongs to rclone's own settings", name)
		case option == nil:
			return nil, fmt.Errorf("option %q: this store type has no such option", name)
		case buffersParts(info.Name) && (name == "chunk_size" || name == "upload_concurrency"):
			return nil, fmt.Errorf("option %q: refused, set part_size and concurrency of the store instead", name)
		case name == "leave_parts_on_error", name == "versions", name == "version_at":
			return nil, fmt.Errorf("option %q: refused, it would break uploads", name)
		}
		value, err := checkValue(option, value)
		if err != nil {
			return nil, fmt.Errorf("option %q: %w", name, err)
		}
		options[name] = value
	}
	return options, nil
}

// checkValue returns value, obscured if it is a password, unless it is none for the
// type of option.
func checkValue(option *fs.Option, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	trial := *option
	if err := trial.Set(value); err != nil {
		return "", err
	}
	if option.IsPassword {
		return obscure.Obscure(value)
	}
	return value, nil
}

// openCrypt lays crypt over base. crypt finds what it wraps by name in rclone's
// cache of open remotes, so base is put there under a name that nobody else
// has; a connection string would carry secrets into rclone's debug log.
func openCrypt(ctx context.Context, given map[string]string, base fs.Fs) (fs.Fs, error) {
	info, err := fs.Find("crypt")
	if err != nil {
		return nil, err
	}
	if _, set := given["remote"]; set {
		return nil, errors.New("crypt: option \"remote\": refused, crypt lies over the store")
	}
	options, err := checkOptions(info, given)
	if err != nil {
		return nil, fmt.Errorf("crypt: %w", err)
	}
	below := remoteName + "-" + random.String(16) + ":"
	cache.Put(below, base)
	options["remote"] = below
	f, err := info.NewFs(ctx, remoteName+"-crypt", "", fs.ConfigMap(info.Prefix, info.Options, remoteName+"-crypt", options))
	if err != nil {
		return nil, fmt.Errorf("open crypt over %s: %w", base, err)
	}
	return f, nil
}
