package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// HeaderSize is the size of the header block.
const HeaderSize = 4096

const (
	tagsAt = 16
	// sumAt is where the simulator keeps the SHA-256 of the bytes before it.
	sumAt = HeaderSize - sha256.Size
	magic = "HANABackup - designed by SAP in Berlin"
)

// Header is the block of 4096 bytes at the start of each file. Byte 0 and the
// tags from offset 16 on were seen in a catalog backup of HANA 2.00.088; that
// they end in newlines, the tags that begin with SIM and the sum at the block's
// end are the simulator's.
type Header struct {
	DBID        string
	BackupID    int64
	Host        string
	Service     string
	VolumeID    int
	Destination string
	// Content is what the volume holds as a whole; this file has its bytes
	// From (inclusive) to To (exclusive).
	Content  Content
	From, To int64
	// Data, where there is any, stands in the place of the first of these bytes:
	// records of a redo log, or the catalog. The block has its size and digest.
	Data []byte
	// Log is where the redo log of the volume stood.
	Log Log
}

// Log is a piece of a volume's redo log, or its end when First is 0.
type Log struct {
	// History is what the positions belong to; each recovery begins another.
	History     int64
	First, Last int64
	// State is the digest, in hex, of all that the volume went through up to
	// Last; empty for a volume that has no log.
	State string
	// Commit is the time of the last record, in nanoseconds since 1970.
	Commit int64
}

// FileSize is the size of the whole file in bytes.
func (h Header) FileSize() int64 { return HeaderSize + h.To - h.From }

// SHA256 computes the digest of the whole file, in hex.
func (h Header) SHA256(ctx context.Context) (string, error) {
	image, err := NewImage(h)
	if err != nil {
		return "", err
	}
	return digest(ctx, image)
}

func (h Header) block() ([]byte, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "[MAGIC]%s\n[DBID]%s\n[DATE]%d\n[BACKUPID]%d\n[HOSTNAME]%s\n[SERVICENAME]%s\n[VOLUMEID]%d\n[DESTINATIONLIST]%s\n",
		magic, h.DBID, h.BackupID, h.BackupID, h.Host, h.Service, h.VolumeID, h.Destination)
	fmt.Fprintf(&text, "[SIMCONTENT]%d %d %d %t %d %d\n",
		h.Content.Seed, h.Content.Volume, h.Content.Size, h.Content.Compressible, h.From, h.To)
	fmt.Fprintf(&text, "[SIMLOG]%d %d %d %d %q\n", h.Log.History, h.Log.First, h.Log.Last, h.Log.Commit, h.Log.State)
	fmt.Fprintf(&text, "[SIMDATA]%d %x\n", len(h.Data), sha256.Sum256(h.Data))
	block := make([]byte, HeaderSize)
	block[0] = 1
	if copy(block[tagsAt:sumAt], text.String()) < text.Len() {
		return nil, fmt.Errorf("header of %s: longer than %d bytes", h.Destination, HeaderSize)
	}
	sum := sha256.Sum256(block[:sumAt])
	copy(block[sumAt:], sum[:])
	return block, nil
}

// ParseHeader reads a header block that the simulator wrote, but for its Data,
// which stand behind it. It refuses a block in which any byte was changed.
func ParseHeader(block []byte) (Header, error) {
	header, _, err := parseHeader(block)
	return header, err
}

// promise is what a header says about the Data behind it.
type promise struct {
	size int64
	sum  string
}

func parseHeader(block []byte) (Header, promise, error) {
	if len(block) != HeaderSize || block[0] != 1 || !bytes.HasPrefix(block[tagsAt:], []byte("[MAGIC]"+magic+"\n")) {
		return Header{}, promise{}, errors.New("the magic of a backup file is missing")
	}
	if sum := sha256.Sum256(block[:sumAt]); !bytes.Equal(sum[:], block[sumAt:]) {
		return Header{}, promise{}, errors.New("wrong checksum of the header")
	}
	tags := map[string]string{}
	for line := range strings.Lines(string(bytes.TrimRight(block[tagsAt:sumAt], "\x00"))) {
		if tag, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "]"); found {
			tags[tag] = value
		}
	}
	h := Header{DBID: tags["[DBID"], Host: tags["[HOSTNAME"], Service: tags["[SERVICENAME"], Destination: tags["[DESTINATIONLIST"]}
	_, errContent := fmt.Sscanf(tags["[SIMCONTENT"], "%d %d %d %t %d %d",
		&h.Content.Seed, &h.Content.Volume, &h.Content.Size, &h.Content.Compressible, &h.From, &h.To)
	_, errLog := fmt.Sscanf(tags["[SIMLOG"], "%d %d %d %d %q", &h.Log.History, &h.Log.First, &h.Log.Last, &h.Log.Commit, &h.Log.State)
	var data promise
	_, errData := fmt.Sscanf(tags["[SIMDATA"], "%d %s", &data.size, &data.sum)
	var errID, errVolume error
	h.BackupID, errID = strconv.ParseInt(tags["[BACKUPID"], 10, 64)
	h.VolumeID, errVolume = strconv.Atoi(tags["[VOLUMEID"])
	if err := errors.Join(errContent, errLog, errData, errID, errVolume); err != nil {
		return Header{}, promise{}, fmt.Errorf("header: %w", err)
	}
	return h, data, nil
}
