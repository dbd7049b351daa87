package backup_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestChecked: whoever reads a stream that is not the one that was stored gets
// less than all of it, and an error.
func TestChecked(t *testing.T) {
	t.Parallel()
	content := []byte("what HANA wrote")
	digest := sha256.Sum256(content)
	sum := hex.EncodeToString(digest[:])
	encoded := []backup.Object{{Encoding: []string{backup.EncodingZstd}}}
	outage := fmt.Errorf("the store is away: %w", io.EOF)
	for _, test := range []struct {
		name    string
		stream  io.Reader
		objects []backup.Object
		want    error
		noSum   bool
	}{
		{"the stream", bytes.NewReader(content), encoded, nil, false},
		{"byte by byte", iotest.OneByteReader(bytes.NewReader(content)), encoded, nil, false},
		{"its end with its last bytes", iotest.DataErrReader(bytes.NewReader(content)), encoded, nil, false},
		{"too short", bytes.NewReader(content[1:]), encoded, backup.ErrCorrupt, false},
		{"too long", bytes.NewReader(append(bytes.Clone(content), 'x')), encoded, backup.ErrCorrupt, false},
		{"too long, byte by byte", iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(content), 'x'))), encoded, backup.ErrCorrupt, false},
		{"another one", bytes.NewReader(bytes.ToUpper(content)), encoded, backup.ErrCorrupt, false},
		{"nothing", bytes.NewReader(nil), encoded, backup.ErrCorrupt, false},
		{"an error that wraps the end", io.MultiReader(bytes.NewReader(content), iotest.ErrReader(outage)), encoded, outage, false},
		{"too short, without a sum", bytes.NewReader(content[1:]), encoded, backup.ErrCorrupt, true},
		{"the stream, without a sum", bytes.NewReader(content), encoded, nil, true},
		{"not encoded", bytes.NewReader(content), []backup.Object{{}}, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := sum
			if test.noSum {
				want = ""
			}
			got, err := io.ReadAll(backup.Checked(io.NopCloser(test.stream), test.objects, int64(len(content)), want))
			if !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("error %v, expected %v", err, test.want)
			}
			if whole := bytes.Equal(got, content); whole != (test.want == nil) {
				t.Errorf("%d bytes came, all of it: %v", len(got), whole)
			}
		})
	}
}
