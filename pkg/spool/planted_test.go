package spool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	base := directory(t)
	must(t, os.Mkdir(filepath.Join(base, "real"), 0o700))
	must(t, os.Symlink("real", filepath.Join(base, "link")))
	twice := plan(base, 1)
	twice.Streams = append(twice.Streams, twice.Streams[0])
	in := func(dir string) backup.Plan { return plan(dir, 1) }
	for name, c := range map[string]struct {
		root string
		plan backup.Plan
		want string
	}{
		"a relative directory":    {base, in("x"), "absolute"},
		"a directory elsewhere":   {base, in(directory(t)), "not below it"},
		"a neighbour by its name": {base, in(base + "x"), "not below it"},
		"no directory":            {base, in(base + "/absent"), "no such file"},
		"a linked directory":      {base, in(base + "/link"), "element link"},
		"a linked root":           {base + "/link", in(base + "/link"), "open directory"},
		"a bad prefix":            {base, backup.Plan{Directory: base, Prefix: "../x"}, "prefix"},
		"a stream twice":          {base, twice, "names stream 0_1 twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := spool.NewSource(spool.Config{Directory: c.root}, nil, nil)
			err := s.Prepare(t.Context(), c.plan)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, more := <-s.Found(); more {
				t.Error("Found is not closed")
			}
			must(t, s.Close())
		})
	}
}

// TestPrepareRefusesStaleFiles, but not the pipes of another front door.
func TestPrepareRefusesStaleFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(p backup.Plan) error
		want string
		// pipes says that a front door of pipes shares the plan.
		pipes bool
	}{
		"a final name":      {func(p backup.Plan) error { return regular(finalPath(p, 0)) }, "FULL_20260101_databackup_0_1", true},
		"a hidden name":     {func(p backup.Plan) error { return regular(hiddenPath(p, 0)) }, ".FULL_20260101_databackup_0_1", true},
		"an unknown volume": {func(p backup.Plan) error { return regular(finalPath(p, 44)) }, "_44_1", true},
		"a link":            {func(p backup.Plan) error { return os.Symlink("x", finalPath(p, 0)) }, "_0_1", true},
		"another's":         {func(p backup.Plan) error { return regular(filepath.Join(p.Directory, "log_backup_0_0_0_0.1")) }, "", true},
		"pipes at the names": {func(p backup.Plan) error {
			return errors.Join(unix.Mkfifo(finalPath(p, 0), 0o600), unix.Mkfifo(hiddenPath(p, 0), 0o600))
		}, "", true},
		"a pipe where there are none": {func(p backup.Plan) error { return unix.Mkfifo(hiddenPath(p, 0), 0o600) }, "_0_1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			must(t, c.make(p))
			s := spool.NewSource(spool.Config{Directory: p.Directory, Pipes: c.pipes}, nil, nil)
			defer func() { must(t, s.Close()) }()
			err := s.Prepare(t.Context(), p)
			if c.want == "" {
				must(t, err)
				return
			}
			if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want EEXIST and %s", err, c.want)
			}
		})
	}
}

// TestPlanted puts into the directory what is not a file of HANA.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plant func(p backup.Plan) error
		want  string
		// stream says that it concerns the stream of the plan.
		stream bool
	}{
		"a link":              {func(p backup.Plan) error { return os.Symlink("/etc/passwd", finalPath(p, 0)) }, "_0_1 is a symbolic link", true},
		"a hidden link":       {func(p backup.Plan) error { return os.Symlink("/etc/passwd", hiddenPath(p, 0)) }, "_0_1 is a symbolic link", true},
		"a pipe":              {func(p backup.Plan) error { return unix.Mkfifo(finalPath(p, 0), 0o600) }, "_0_1 is a named pipe", true},
		"a hidden pipe":       {func(p backup.Plan) error { return unix.Mkfifo(hiddenPath(p, 0), 0o600) }, "_0_1 is a named pipe", true},
		"a pipe of no stream": {func(p backup.Plan) error { return unix.Mkfifo(finalPath(p, 3), 0o600) }, "_3_1 is a named pipe", false},
		"a directory":         {func(p backup.Plan) error { return os.Mkdir(finalPath(p, 0), 0o700) }, "_0_1 is a directory", true},
		"a socket":            {func(p backup.Plan) error { return unix.Mknod(finalPath(p, 0), unix.S_IFSOCK|0o600, 0) }, "_0_1 is a file of mode", true},
		"a link of no stream": {func(p backup.Plan) error { return os.Symlink("/etc/passwd", finalPath(p, 3)) }, "_3_1 is a symbolic link", false},
		"a hard link": {func(p backup.Plan) error {
			other := filepath.Join(p.Directory, "other")
			return errors.Join(regular(other), os.Link(other, finalPath(p, 0)))
		}, "_0_1 is a file with 2 names", true},
		"a name that says nothing": {func(p backup.Plan) error { return regular(finalPath(p, 0) + ".tmp") }, "_0_1.tmp", false},
		"another prefix": {func(p backup.Plan) error {
			return regular(filepath.Join(p.Directory, p.Prefix+"_databackup_X_databackup_0_1"))
		}, "of another backup", false},
		"a delta": {func(p backup.Plan) error {
			return regular(filepath.Join(p.Directory, p.Prefix+"_databackup_incremental_1_2_0_1"))
		}, "of another backup", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := prepared(t, 1)
			end := fetch(t, s, stream(0))
			must(t, c.plant(p))
			err := receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
			if !errors.Is(err, spool.ErrIntrusion) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.stream {
				if got := receive(t, "the end", end).err; !errors.Is(got, spool.ErrIntrusion) || !strings.Contains(s.Report()[0].Intrusion, c.want) {
					t.Errorf("Open: %v, the report says %q", got, s.Report()[0].Intrusion)
				}
			}
			must(t, s.Close())
			if !c.stream {
				if got := receive(t, "the end", end).err; !errors.Is(got, spool.ErrClosed) {
					t.Errorf("Open: %v, want ErrClosed", got)
				}
			}
		})
	}
}

func TestOwners(t *testing.T) {
	t.Parallel()
	needRoot(t, "to give files away")
	for name, c := range map[string]struct {
		owners []uint32
		dir    int
		file   int
		good   bool
	}{
		"our own":               {nil, 0, 0, true},
		"the directory's owner": {nil, 12001, 12001, true},
		"somebody's":            {nil, 0, 12001, false},
		"a named one":           {[]uint32{12001}, 0, 12001, true},
		"not a named one":       {[]uint32{12001}, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(directory(t), 1)
			must(t, os.Chown(p.Directory, c.dir, -1))
			s := prepare(t, p, func(cfg *spool.Config) { cfg.Owners = c.owners })
			end := fetch(t, s, stream(0))
			other := filepath.Join(p.Directory, "other")
			must(t, errors.Join(regular(other), os.Chown(other, c.file, -1), os.Rename(other, finalPath(p, 0))))
			if c.good {
				must(t, s.Settle(t.Context()))
			}
			err := receive(t, "the end", end).err
			if c.good {
				must(t, err)
			} else if !errors.Is(err, spool.ErrIntrusion) || !strings.Contains(err.Error(), fmt.Sprintf("a file of user %d", c.file)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
