package backup_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func header(tags string) []byte {
	block := make([]byte, backup.HeaderSize)
	block[0] = 1
	copy(block[16:], tags)
	return block
}

const goodTags = "[MAGIC]HANABackup - designed by SAP in Berlin\n[DBID]x\n[DATE]1\n[BACKUPID]1755519941920\n[HOSTNAME]h\n[VOLUMEID]3\n"

func TestParseHeader(t *testing.T) {
	t.Parallel()
	want := backup.Header{BackupID: 1755519941920, VolumeID: 3}
	for name, start := range map[string][]byte{
		"a whole header": header(goodTags),
		"with payload":   append(header(goodTags), bytes.Repeat([]byte("[BACKUPID]7"), 100)...),
		"tags in a row":  header(strings.ReplaceAll(goodTags, "\n", "")),
		"zero-separated": header(strings.ReplaceAll(goodTags, "\n", "\x00")),
	} {
		got, err := backup.ParseHeader(start)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	t.Parallel()
	zero := header(goodTags)
	zero[0] = 0
	for name, start := range map[string][]byte{
		"nothing":                   nil,
		"zeros":                     make([]byte, backup.HeaderSize),
		"first byte":                zero,
		"no magic":                  header(strings.Replace(goodTags, "Berlin", "Walldorf", 1)),
		"no backup id":              header(strings.Replace(goodTags, "[BACKUPID]", "[BACKUP]", 1)),
		"backup id without a value": header(strings.Replace(goodTags, "1755519941920", "", 1)),
		"backup id too large":       header(strings.Replace(goodTags, "1755519941920", strings.Repeat("9", 30), 1)),
		"no volume":                 header(strings.Replace(goodTags, "[VOLUMEID]", "[VOLUME]", 1)),
		"cut short":                 header(goodTags)[:40],
		"magic behind the header":   append(header(""), []byte(goodTags)...),
	} {
		if got, err := backup.ParseHeader(start); err == nil {
			t.Errorf("%s was read as %+v", name, got)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(header(goodTags))
	f.Fuzz(func(_ *testing.T, start []byte) {
		_, _ = backup.ParseHeader(start) // must not panic
	})
}
