package backup

import (
	"fmt"
	"strconv"
	"strings"
)

// StreamKey is the key of the first object of a stream:
// "<SID>/<database>/data/<prefix>/<volume>_<part>".
func StreamKey(sid, database, prefix string, id StreamID) string {
	return DataPrefix(sid, database) + prefix + "/" + id.String()
}

// DataPrefix is where all data objects of a database lie, with a final slash.
func DataPrefix(sid, database string) string {
	return sid + "/" + database + "/data/"
}

// EncodedKey is the key under which the stream at key is stored in an encoding:
// each step adds its suffix, as the stock tools do ("3_1.zst.age").
func EncodedKey(key string, encoding []string) string {
	for _, step := range encoding {
		switch step {
		case EncodingZstd:
			key += ".zst"
		case EncodingAge:
			key += ".age"
		}
	}
	return key
}

// SegmentKey is the key of segment n, counted from 1, of the stream at key.
// The first segment keeps the plain key.
func SegmentKey(key string, n int) string {
	if n <= 1 {
		return key
	}
	return fmt.Sprintf("%s.%03d", key, n)
}

// ManifestPrefix is where the manifests of a database lie, with a final slash.
func ManifestPrefix(sid, database string) string {
	return sid + "/" + database + "/manifests/"
}

// ManifestKey is the key of the manifest of one backup.
func ManifestKey(sid, database string, backupID int64) string {
	return ManifestPrefix(sid, database) + strconv.FormatInt(backupID, 10) + ".json"
}

// ParseManifestKey reverses [ManifestKey].
func ParseManifestKey(key string) (sid, database string, backupID int64, err error) {
	piece := strings.Split(key, "/")
	if len(piece) != 4 || piece[2] != "manifests" {
		return "", "", 0, fmt.Errorf("key %q: expected <SID>/<database>/manifests/<backup_id>.json", key)
	}
	number, found := strings.CutSuffix(piece[3], ".json")
	backupID, errNumber := strconv.ParseInt(number, 10, 64)
	if !found || errNumber != nil || backupID <= 0 || strconv.FormatInt(backupID, 10) != number {
		return "", "", 0, fmt.Errorf("key %q: expected a backup id and .json at its end", key)
	}
	if err := CheckSID(piece[0]); err != nil {
		return "", "", 0, fmt.Errorf("key %q: %w", key, err)
	}
	if name, err := ParseDatabase(piece[1]); err != nil || name != piece[1] {
		return "", "", 0, fmt.Errorf("key %q: %q is not a database name", key, piece[1])
	}
	return piece[0], piece[1], backupID, nil
}
