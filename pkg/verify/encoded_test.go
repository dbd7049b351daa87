package verify_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

// TestRunOfEncodedStreams: what is stored is checked with and without an identity;
// what it decodes to only with one.
func TestRunOfEncodedStreams(t *testing.T) {
	t.Parallel()
	first := backup.StreamID{VolumeID: 0, PartID: 1}
	for _, test := range []struct {
		name      string
		blind     bool // without an identity
		sample    int
		spoil     func(t *testing.T, s stored, m *backup.Manifest)
		want      []verify.Finding
		undecoded int
	}{
		{name: "whole"},
		{name: "whole, without an identity", blind: true, undecoded: 2},
		{name: "a sample", sample: 1},
		{
			name: "another stream than the manifest says", spoil: func(_ *testing.T, _ stored, m *backup.Manifest) { m.Streams[0].SHA256 = m.Streams[0].Objects[0].SHA256 },
			want: []verify.Finding{{Code: verify.CodeStreamHash, Severity: verify.SeverityError, Stream: first.String(), Key: "HXE/HXE/data/P/0_1.zst.age"}},
		},
		{
			name: "a flipped byte, without an identity", blind: true, undecoded: 1,
			spoil: func(t *testing.T, s stored, _ *backup.Manifest) {
				t.Helper()
				s.change(t, "HXE/HXE/data/P/0_1.zst.age", flip(200))
			},
			want: []verify.Finding{{Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: first.String(), Key: "HXE/HXE/data/P/0_1.zst.age", Part: 1}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := store(t)
			identity, err := age.GenerateX25519Identity()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "identity")
			if err := os.WriteFile(file, []byte(identity.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			if test.blind {
				file = ""
			}
			encoding, err := codec.New(s.store, codec.Config{Compression: "fastest", Recipients: []string{identity.Recipient().String()}, IdentityFile: file})
			if err != nil {
				t.Fatal(err)
			}
			manifest := encode(t, s, encoding)
			if test.spoil != nil {
				test.spoil(t, s, manifest)
			}
			var mu sync.Mutex
			undecoded := 0
			got, err := verify.Run(t.Context(), encoding, manifest, verify.Options{
				Sample: test.sample, Streams: encoding, Undecoded: func(backup.StreamID) {
					mu.Lock()
					defer mu.Unlock()
					undecoded++
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(verify.Finding{}, "Message"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if undecoded != test.undecoded {
				t.Errorf("%d streams were not decoded, expected %d", undecoded, test.undecoded)
			}
		})
	}
}

// encode puts the backup of s in its place, encoded.
func encode(t *testing.T, s stored, encoding *codec.Store) *backup.Manifest {
	t.Helper()
	m := *s.manifest
	m.Streams = nil
	for i := range s.manifest.Streams {
		stream := s.manifest.Streams[i]
		for _, o := range stream.Objects {
			if err := s.store.Remove(t.Context(), o.Key); err != nil {
				t.Fatal(err)
			}
		}
		upload, err := encoding.Begin(t.Context(), backup.StreamKey(m.SID, m.Database, m.Prefix, stream.StreamID), backup.UploadOptions{Encode: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := upload.Consume(t.Context(), bytes.NewReader(bytes.Repeat([]byte("0123456789"), 1000)))
		if err == nil {
			err = upload.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		stream.Size, stream.SHA256, stream.Objects = got.Bytes, got.SHA256, got.Objects
		m.Streams = append(m.Streams, stream)
	}
	return &m
}
