package spool_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// TestChangedWhileRead does to a file what nobody should do, between its first
// and its last byte.
func TestChangedWhileRead(t *testing.T) {
	t.Parallel()
	write := func(path string, flags int, data []byte) error {
		f, err := os.OpenFile(path, os.O_WRONLY|flags, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	}
	for name, c := range map[string]struct {
		act  func(path string) error
		want string
	}{
		"grown":           {func(path string) error { return write(path, os.O_APPEND, []byte("x")) }, "it had 1000000 bytes and has 1000001"},
		"shrunk":          {func(path string) error { return os.Truncate(path, 999_999) }, "bytes"},
		"rewritten":       {func(path string) error { return write(path, 0, []byte("x")) }, "it was written again"},
		"unlinked":        {os.Remove, "its name is gone"},
		"renamed away":    {func(path string) error { return os.Rename(path, path+"x") }, "its name is gone"},
		"replaced":        {func(path string) error { return hana(filepath.Dir(path), filepath.Base(path), pattern(1_000_000)) }, "another file has its name"},
		"linked over":     {func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)) }, "another file has its name"},
		"a hard link":     {func(path string) error { return os.Link(path, path+"x") }, ""},
		"nothing":         {func(string) error { return nil }, ""},
		"the mode":        {func(path string) error { return os.Chmod(path, 0o600) }, ""},
		"another's file":  {func(path string) error { return regular(filepath.Join(filepath.Dir(path), "other")) }, ""},
		"mtime set again": {func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) }, "it was written again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := prepared(t, 1)
			data := pattern(1_000_000)
			must(t, hana(p.Directory, p.FileName(id(0)), data))
			r, err := s.Open(t.Context(), stream(0))
			must(t, err)
			defer func() { must(t, r.Close()) }()
			got := make([]byte, 300_000)
			_, err = io.ReadFull(r, got)
			must(t, err)
			must(t, c.act(finalPath(p, 0)))
			rest, err := io.ReadAll(r)
			if c.want == "" {
				if name == "a hard link" { // the name that is new is an intrusion, and no change of the bytes
					must(t, os.Remove(finalPath(p, 0)+"x"))
				} else {
					must(t, err)
					same(t, append(got, rest...), data)
				}
				return
			}
			if !errors.Is(err, spool.ErrChanged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, again := r.Read(got); !errors.Is(again, err) {
				t.Errorf("the next Read: %v", again)
			}
			if s.Report()[0].Complete != 0 {
				t.Error("it counts as complete")
			}
		})
	}
}

// TestWrittenAgainAfterItWasRead is too late for the reader, so Watch tells.
func TestWrittenAgainAfterItWasRead(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(p backup.Plan) error{
		"grown": func(p backup.Plan) error { return os.WriteFile(finalPath(p, 0), pattern(5), 0o600) },
		"hidden again": func(p backup.Plan) error {
			return regular(hiddenPath(p, 0))
		},
		"replaced": func(p backup.Plan) error { return hana(p.Directory, p.FileName(id(0)), pattern(5)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := prepared(t, 1)
			must(t, hana(p.Directory, p.FileName(id(0)), pattern(5)))
			must(t, receive(t, "the end", fetch(t, s, stream(0))).err)
			must(t, act(p))
			err := receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
			if !errors.Is(err, spool.ErrIntrusion) || !strings.Contains(err.Error(), "was written again after it was read") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestWrittenAgainBeforeItIsRead gives the newest bytes.
func TestWrittenAgainBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s, p := prepared(t, 1)
	must(t, hana(p.Directory, p.FileName(id(0)), pattern(5)))
	eventually(t, "the first file", func() bool { return len(s.Files()) == 1 })
	must(t, hana(p.Directory, p.FileName(id(0)), pattern(500)))
	eventually(t, "the second file", func() bool { return s.Files()[0].Size == 500 })
	got := receive(t, "the end", fetch(t, s, stream(0)))
	must(t, got.err)
	same(t, got.data, pattern(500))
	must(t, s.Close())
	must(t, s.Watch(t.Context()))
}

// TestSecondFileOfAStream is what a delta of two backup ids would be.
func TestSecondFileOfAStream(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 1)
	p.Kind = backup.KindDifferential
	s := prepare(t, p)
	name := func(id int) string { return fmt.Sprintf("%s_databackup_differential_100_%d_0_1", p.Prefix, id) }
	must(t, hana(p.Directory, name(200), pattern(10)))
	eventually(t, "the first file", func() bool { return len(s.Files()) == 1 })
	must(t, hana(p.Directory, name(300), pattern(10)))
	err := receive(t, "the intrusion", async(func() error { return s.Watch(t.Context()) }))
	if !errors.Is(err, spool.ErrIntrusion) || !strings.Contains(err.Error(), "beside") {
		t.Errorf("got %v", err)
	}
}

// TestAnotherNameAfterARetry is not: the first file is gone.
func TestAnotherNameAfterARetry(t *testing.T) {
	t.Parallel()
	p := plan(directory(t), 1)
	p.Kind = backup.KindDifferential
	s := prepare(t, p)
	name := func(id int) string { return fmt.Sprintf("%s_databackup_differential_100_%d_0_1", p.Prefix, id) }
	first := filepath.Join(p.Directory, "."+name(200))
	must(t, regular(first))
	eventually(t, "the first file", func() bool { return s.Report()[0].Path == first })
	must(t, os.Remove(first))
	must(t, hana(p.Directory, name(300), pattern(10)))
	got := receive(t, "the end", fetch(t, s, stream(0)))
	must(t, got.err)
	same(t, got.data, pattern(10))
	must(t, s.Close())
	must(t, s.Watch(t.Context()))
}
