package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func testRanges(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	const key = "HDB/S/data/p/1_1"
	size := int64(subject.PartSize + 1000)
	data := pattern(9, int(size))
	put(t, store, key, data)
	for _, test := range []struct {
		offset, length int64
		want           []byte
		err            error
	}{
		{0, -1, data, nil},
		{0, size, data, nil},
		{0, 1, data[:1], nil},
		{0, 0, nil, nil},
		{5, 7, data[5:12], nil},
		{size - 1, 1, data[size-1:], nil},
		{size - 10, -1, data[size-10:], nil},
		{size, -1, nil, nil},
		{size, 0, nil, nil},
		{int64(subject.PartSize) - 1, 2, data[subject.PartSize-1 : subject.PartSize+1], nil},
		{0, size + 1, data, io.ErrUnexpectedEOF},
		{size - 3, 10, data[size-3:], io.ErrUnexpectedEOF},
		{size, 1, nil, io.ErrUnexpectedEOF},
		{size + 1, -1, nil, io.ErrUnexpectedEOF},
		{size + 1, 1, nil, io.ErrUnexpectedEOF},
	} {
		t.Run(fmt.Sprintf("%d+%d", test.offset, test.length), func(t *testing.T) {
			got, err := read(t, store, key, test.offset, test.length)
			if !errors.Is(err, test.err) || !bytes.Equal(got, test.want) {
				t.Fatalf("%d bytes, error %v; want %d, %v", len(got), err, len(test.want), test.err)
			}
		})
	}
	for _, test := range []struct{ offset, length int64 }{{-1, 1}, {0, -2}} {
		if _, err := store.Open(t.Context(), key, test.offset, test.length); err == nil {
			t.Errorf("Open(%d, %d) succeeded", test.offset, test.length)
		}
	}
	_, err := store.Open(t.Context(), "HDB/S/data/p/2_1", 0, -1)
	wantError(t, "Open of nothing", err, backup.ErrNotFound)
	// A reader that is closed early leaves nothing behind (goleak).
	body, err := store.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
}

func testList(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	list := func(prefix string, want ...string) {
		t.Helper()
		objects, err := store.List(t.Context(), prefix)
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		got := []string{}
		for _, o := range objects {
			got = append(got, o.Key)
			if o.Size != int64(len(o.Key)) {
				t.Errorf("%s: size %d, want %d", o.Key, o.Size, len(o.Key))
			}
		}
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Errorf("List(%q) (-want +got):\n%s", prefix, diff)
		}
	}
	list("")
	list("HDB/")
	keys := []string{"HDB/A-1", "HDB/A/1", "HDB/A/10", "HDB/A/2", "HDB/A0/1", "HDB2/A/1", "a.json"}
	for _, key := range slices.Backward(keys) {
		put(t, store, key, []byte(key))
	}
	waiting := begin(t, store, "HDB/A/waiting", 0)
	consume(t, waiting, []byte("x"))
	slices.Sort(keys)
	list("", keys...)
	list("HDB/A/", "HDB/A/1", "HDB/A/10", "HDB/A/2")
	list("HDB2/", "HDB2/A/1")
	list("HDB3/")
	abort(t, waiting)
	if _, err := store.List(t.Context(), "HDB"); err == nil {
		t.Error("List of a prefix without a slash succeeded")
	}
	for range 2 {
		if err := store.Remove(t.Context(), "HDB/A/1"); err != nil {
			t.Fatalf("Remove: %v", err)
		}
	}
	list("HDB/A/", "HDB/A/10", "HDB/A/2")
	_, err := store.Stat(t.Context(), "HDB/A/1")
	wantError(t, "Stat", err, backup.ErrNotFound)
	_, err = store.Stat(t.Context(), "HDB/A")
	wantError(t, "Stat of what holds objects", err, backup.ErrNotFound)
}

func testFolders(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	for _, key := range []string{"HDB/A-1", "HDB/A/1", "HDB/A/2/3", "HDB/A0/1", "HDB2/A/1", "a.json"} {
		put(t, store, key, []byte(key))
	}
	waiting := begin(t, store, "HDB/B/waiting", 0)
	consume(t, waiting, []byte("x"))
	abort(t, waiting)
	for prefix, want := range map[string][]string{"": {"HDB", "HDB2"}, "HDB/": {"A", "A0"}, "HDB/A/": {"2"}, "HDB2/A/": {}, "HDB3/": {}} {
		names, err := store.Folders(t.Context(), prefix)
		if diff := cmp.Diff(want, append([]string{}, names...)); err != nil || diff != "" {
			t.Errorf("Folders(%q): %v (-want +got):\n%s", prefix, err, diff)
		}
	}
	if _, err := store.Folders(t.Context(), "HDB"); err == nil {
		t.Error("Folders of a prefix without a slash succeeded")
	}
}

func testKeys(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	for _, key := range []string{
		"", "/", "a/", "/a", "a//b", "..", "a/../b", ".", "a/.", ".pipestreamer/x", "a\nb", "a\\b", "a\x00b", "\xff",
		strings.Repeat("a", 1025),
	} {
		if _, err := store.Begin(t.Context(), key, backup.UploadOptions{}); err == nil {
			t.Errorf("Begin(%q) succeeded", key)
		}
		if _, err := store.Stat(t.Context(), key); err == nil || errors.Is(err, backup.ErrNotFound) {
			t.Errorf("Stat(%q): %v, want a refusal", key, err)
		}
		if _, err := store.Open(t.Context(), key, 0, -1); err == nil || errors.Is(err, backup.ErrNotFound) {
			t.Errorf("Open(%q): %v, want a refusal", key, err)
		}
		if err := store.Remove(t.Context(), key); err == nil {
			t.Errorf("Remove(%q) succeeded", key)
		}
		o := backup.Object{Key: key, Size: 1, Parts: []backup.Part{{Size: 1, SHA256: strings.Repeat("0", 64)}}}
		if _, err := store.OpenStream(t.Context(), []backup.Object{o}); err == nil {
			t.Errorf("OpenStream(%q) succeeded", key)
		}
	}
}

func testCorrupt(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	const key = "HDB/S/data/p/1_1"
	part := subject.PartSize
	good := pattern(10, 3*part+5)
	stored := put(t, store, key, good)
	for _, test := range []struct {
		name    string
		content func() []byte
		passed  int
		names   string
	}{
		{"first byte", func() []byte { bad := bytes.Clone(good); bad[0] ^= 1; return bad }, 0, "part 1"},
		{"third part", func() []byte { bad := bytes.Clone(good); bad[2*part+9] ^= 0x80; return bad }, 2 * part, "part 3"},
		{"last byte", func() []byte { bad := bytes.Clone(good); bad[len(bad)-1] ^= 1; return bad }, 3 * part, "part 4"},
		{"two parts swapped", func() []byte {
			return slices.Concat(good[:part], good[2*part:3*part], good[part:2*part], good[3*part:])
		}, part, "part 2"},
		{"shorter", func() []byte { return good[:len(good)-1] }, 0, "part 1"},
		{"longer", func() []byte { return append(bytes.Clone(good), 0) }, 0, "part 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := store.Overwrite(t.Context(), key, test.content()); err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, store, stored.Objects)
			wantError(t, "OpenStream", err, backup.ErrCorrupt)
			if !strings.Contains(err.Error(), test.names) || !strings.Contains(err.Error(), key) {
				t.Errorf("error %q names neither %q nor the key", err, test.names)
			}
			if len(got) > test.passed || !bytes.Equal(got, good[:len(got)]) {
				t.Errorf("%d bytes were delivered, want at most the %d good ones", len(got), test.passed)
			}
		})
	}
}

func testOpenStream(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	const key = "HDB/S/data/p/1_1"
	data := pattern(11, 4*subject.PartSize)
	stored := put(t, store, key, data)

	t.Run("closed early", func(t *testing.T) {
		body, err := store.OpenStream(t.Context(), stored.Objects)
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 100)
		if _, err := io.ReadFull(body, head); err != nil || !bytes.Equal(head, data[:100]) {
			t.Fatalf("first bytes: %v", err)
		}
		for range 2 {
			if err := body.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := body.Read(head); n != 0 || err == nil {
			t.Fatalf("Read after Close: %d, %v", n, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		body, err := store.OpenStream(ctx, stored.Objects)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = io.Copy(io.Discard, body)
		wantError(t, "Read", err, context.Canceled)
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func testOpenStreamRefuses(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	const key = "HDB/S/data/p/1_1"
	stored := put(t, store, key, pattern(11, 1000))
	t.Run("missing", func(t *testing.T) {
		objects := slices.Clone(stored.Objects)
		objects[0].Key = "HDB/S/data/p/2_1"
		_, err := readStream(t, store, objects)
		wantError(t, "Read", err, backup.ErrNotFound)
	})
	t.Run("nothing", func(t *testing.T) {
		if got, err := readStream(t, store, nil); err != nil || len(got) != 0 {
			t.Fatalf("%d bytes, %v; want an empty stream", len(got), err)
		}
	})
	t.Run("parts that do not add up", func(t *testing.T) {
		objects := slices.Clone(stored.Objects)
		objects[0].Size++
		if _, err := store.OpenStream(t.Context(), objects); err == nil {
			t.Fatal("OpenStream succeeded")
		}
	})
	t.Run("a part beyond all memory", func(t *testing.T) {
		objects := []backup.Object{{Key: key, Size: 1 << 50, Parts: []backup.Part{{Size: 1 << 50, SHA256: stored.SHA256}}}}
		if _, err := store.OpenStream(t.Context(), objects); err == nil {
			t.Fatal("OpenStream succeeded")
		}
	})
}

func testCheck(t *testing.T, subject Subject) {
	store := subject.Open(t, Limits{})
	for range 2 {
		if err := store.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNothing(t, store)
	}
	// What Check has found out changes nothing of an upload but this.
	const key = "HDB/S/data/p/1_1"
	put(t, store, key, []byte("first"))
	upload := begin(t, store, key, 5)
	consume(t, upload, []byte("other"))
	wantError(t, "Commit", upload.Commit(t.Context()), backup.ErrExists)
	abort(t, upload)
	wantContent(t, store, key, []byte("first"))
}
