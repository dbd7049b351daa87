package landscape

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

const (
	// recordSize is the size of a record in a file, and by how much it moves the
	// log position, which grows in multiples of 64.
	recordSize  = 64
	payloadSize = recordSize - 16
	// firstPosition is where the log of a new volume begins: the position in the
	// name of a real log backup.
	firstPosition = 113012992
)

// record is one committed change of a volume.
type record struct {
	position int64 // of the log after it
	time     time.Time
	payload  [payloadSize]byte
}

func (r record) appendTo(data []byte) []byte {
	data = binary.BigEndian.AppendUint64(data, uint64(r.position))
	data = binary.BigEndian.AppendUint64(data, uint64(r.time.UnixNano()))
	return append(data, r.payload[:]...)
}

func encodeRecords(records []record) []byte {
	data := make([]byte, 0, len(records)*recordSize)
	for _, r := range records {
		data = r.appendTo(data)
	}
	return data
}

func parseRecords(data []byte) ([]record, error) {
	if len(data)%recordSize != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of log records", len(data))
	}
	records := make([]record, len(data)/recordSize)
	for i := range records {
		raw := data[i*recordSize : (i+1)*recordSize]
		records[i].position = int64(binary.BigEndian.Uint64(raw))
		records[i].time = time.Unix(0, int64(binary.BigEndian.Uint64(raw[8:]))).UTC()
		copy(records[i].payload[:], raw[16:])
	}
	return records, nil
}

// Point is where the redo log of a volume stands.
type Point struct {
	Position int64
	// State is the SHA-256 over the content and all records applied to it: equal
	// states mean equal volumes.
	State [sha256.Size]byte
	// Commit is the time of the last record, or zero.
	Commit time.Time
}

// newPoint is where a volume stands to which no record was applied.
func newPoint(content files.Content, position int64) Point {
	return Point{Position: position, State: sha256.Sum256(fmt.Appendf(nil, "%+v", content))}
}

// after gives the point that r leads to.
func (p Point) after(r record) Point {
	return Point{r.position, sha256.Sum256(r.appendTo(p.State[:])), r.time}
}

// Hex is the state in hex.
func (p Point) Hex() string { return hex.EncodeToString(p.State[:]) }

// log is the point as headers have it.
func (p Point) log(history, first int64) files.Log {
	log := files.Log{History: history, First: first, Last: p.Position, State: p.Hex()}
	if !p.Commit.IsZero() {
		log.Commit = p.Commit.UnixNano()
	}
	return log
}

// pointOf is the point at the end of a piece of log.
func pointOf(log files.Log) (Point, error) {
	p := Point{Position: log.Last}
	if log.Commit != 0 {
		p.Commit = time.Unix(0, log.Commit).UTC()
	}
	state, err := hex.DecodeString(log.State)
	if err != nil || len(state) != len(p.State) {
		return Point{}, fmt.Errorf("state %q: expected a SHA-256", log.State)
	}
	copy(p.State[:], state)
	return p, nil
}

// redo is the log of one volume.
type redo struct {
	Point

	records  []record // since the content was made or recovered
	backedUp int64    // the position up to which there are log backups
}

// since gives the records after a position.
func (r *redo) since(position int64) []record {
	from := len(r.records)
	for from > 0 && r.records[from-1].position > position {
		from--
	}
	return r.records[from:]
}

// Work commits n records in every volume of a running database, all at the same
// time.
func (s *System) Work(name string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.lookup(name)
	switch {
	case err != nil:
		return err
	case n < 1:
		return general("%d records: expected at least one", n)
	case s.closed || !d.online:
		return general("database %q is stopped", name)
	}
	s.commit(d, n)
	return nil
}

func (s *System) commit(d *database, n int) {
	now := s.now().Truncate(time.Microsecond)
	for _, v := range d.volumes {
		log := d.redo[v.ID]
		if log == nil {
			continue
		}
		for range n {
			r := record{position: log.Position + recordSize, time: now}
			for i := 0; i < payloadSize; i += 8 {
				binary.BigEndian.PutUint64(r.payload[i:], s.random.Uint64())
			}
			log.records = append(log.records, r)
			log.Point = log.after(r)
		}
	}
}

// now is HANA's clock.
func (s *System) now() time.Time { return time.Now().Add(s.settings.Clock).UTC() }

// Clock is by how much HANA's clock is ahead of the machine's.
func (s *System) Clock() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings.Clock
}

// renew begins the history of a database anew: there are no log backups and no
// deltas until the next complete backup.
func (s *System) renew(d *database) {
	d.history, d.based = max(d.history+1, time.Now().UnixNano()), false
}

// Break is a row of M_BACKUP_HISTORY_BROKEN.
type Break struct {
	Time            time.Time
	BackupID        int64 // the last of the catalog, or 0
	Reason, Message string
}

// breakHistory renews the history and says why.
func (s *System) breakHistory(d *database, reason, message string) {
	last := int64(0)
	if len(d.entries) > 0 {
		last = d.entries[len(d.entries)-1].ID
	}
	d.broken = append(d.broken, Break{s.now(), last, reason, message})
	s.renew(d)
}

// points gives where the logs of all volumes stand.
func (d *database) points() map[int]Point {
	points := map[int]Point{}
	for id, log := range d.redo {
		points[id] = log.Point
	}
	return points
}
