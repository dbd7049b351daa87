package backup

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// HeaderSize is how many bytes at the start of a backup file hold its header.
const HeaderSize = 4096

// headerMagic was seen at offset 16 of a catalog backup of HANA 2.00.088. That
// data backups carry the same header is inferred, not seen.
const headerMagic = "[MAGIC]HANABackup - designed by SAP in Berlin"

// Header is what the first bytes of a backup file say about it.
type Header struct {
	BackupID int64
	VolumeID int
	// DatabaseUUID is empty when the header has none.
	DatabaseUUID string
}

// ParseHeader reads the header from the start of a backup file, given as much
// of it as there is.
func ParseHeader(start []byte) (Header, error) {
	if len(start) > HeaderSize {
		start = start[:HeaderSize]
	}
	if len(start) == 0 || start[0] != 1 || !bytes.Contains(start, []byte(headerMagic)) {
		return Header{}, errors.New("header: not a HANA backup: its magic is missing")
	}
	id, err := headerNumber(start, "[BACKUPID]")
	if err != nil {
		return Header{}, err
	}
	volume, err := headerNumber(start, "[VOLUMEID]")
	if err != nil {
		return Header{}, err
	}
	return Header{BackupID: id, VolumeID: int(volume), DatabaseUUID: databaseUUID(start)}, nil
}

var uuidGrammar = regexp.MustCompile(`^\[DBID\]([0-9A-Fa-f-]{32,36})(?:[^0-9A-Fa-f-]|$)`)

func databaseUUID(start []byte) string {
	if i := bytes.Index(start, []byte("[DBID]")); i >= 0 {
		if found := uuidGrammar.FindSubmatch(start[i:]); found != nil {
			return string(found[1])
		}
	}
	return ""
}

func headerNumber(start []byte, tag string) (int64, error) {
	_, rest, found := bytes.Cut(start, []byte(tag))
	if !found {
		return 0, fmt.Errorf("header: no %s", tag)
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("header: %s is not followed by a number", tag)
	}
	return n, nil
}
