package wire

import (
	"encoding/binary"
	"fmt"
)

// Attributes of a result set part.
const (
	attributeLast   = 0x01
	attributeNext   = 0x02
	attributeClosed = 0x10
)

const (
	// firstRows is how many rows come with the reply to the query.
	firstRows = 128
	// maxFetchRows is the most that one fetch gives, whatever was asked for.
	maxFetchRows = 32 << 10
	// packetBytes is the size after which a packet gets no further row.
	packetBytes = 256 << 10
)

// resultSet is the part of a result that the client has not fetched yet.
type resultSet struct {
	id      uint64
	columns []Column
	rows    [][]any
	lobs    []uint64 // locators, freed with the result set
}

// rowsReply begins a result set.
func (s *session) rowsReply(result Result, withMetadata bool) (*reply, error) {
	rs := &resultSet{id: s.newID(), columns: result.Columns, rows: result.Rows}
	s.results[rs.id] = rs
	rows, err := s.nextRows(rs, firstRows)
	if err != nil {
		s.closeResultSet(rs)
		return nil, err
	}
	answer := success(functionSelect)
	if withMetadata {
		answer.parts = append(answer.parts, columnMetadata(rs.columns, s.format))
	}
	answer.parts = append(answer.parts, idPart(partResultSetID, rs.id), rows)
	return answer, nil
}

// nextRows gives the next rows, at least one if there is any, and closes the
// result set with the last of them. With LOBs still to be read it stays open
// until the client closes it.
func (s *session) nextRows(rs *resultSet, limit int) (part, error) {
	rows := part{kind: partResultSet, attributes: attributeNext}
	for len(rs.rows) > 0 && rows.count < limit && len(rows.data) < packetBytes {
		data, err := s.appendRow(rows.data, rs, rs.rows[0])
		if err != nil {
			return part{}, generalError(err.Error())
		}
		rows.data = data
		rows.count++
		rs.rows = rs.rows[1:]
	}
	if len(rs.rows) > 0 {
		return rows, nil
	}
	rows.attributes = attributeLast
	if len(rs.lobs) == 0 {
		rows.attributes |= attributeClosed
		s.closeResultSet(rs)
	}
	return rows, nil
}

func (s *session) appendRow(b []byte, rs *resultSet, row []any) ([]byte, error) {
	if len(row) != len(rs.columns) {
		return nil, fmt.Errorf("row of %d values for %d columns", len(row), len(rs.columns))
	}
	var err error
	for i, column := range rs.columns {
		if column.Type == NClob {
			b, err = s.appendLob(b, rs, row[i])
		} else {
			b, err = appendValue(b, column, s.format, row[i])
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", column.Name, err)
		}
	}
	return b, nil
}

func (s *session) closeResultSet(rs *resultSet) {
	for _, locator := range rs.lobs {
		delete(s.lobs, locator)
	}
	delete(s.results, rs.id)
}

// fetchNext answers result set id and fetch size.
func (s *session) fetchNext(req request) (*reply, error) {
	id, err := req.id(partResultSetID)
	if err != nil {
		return nil, err
	}
	rs, ok := s.results[id]
	if !ok {
		return nil, generalError(fmt.Sprintf("result set %d is not open", id))
	}
	limit := maxFetchRows
	if size, ok := req.part(partFetchSize); ok {
		c := cursor{b: size.data}
		limit = int(c.i32())
		if c.err != nil {
			return nil, c.err
		}
	}
	rows, err := s.nextRows(rs, min(max(limit, 1), maxFetchRows))
	if err != nil {
		return nil, err
	}
	return success(functionFetch, rows), nil
}

// endResultSet answers a client that has read enough. Closing twice is no error:
// a client may close what the last fetch has closed already.
func (s *session) endResultSet(req request) (*reply, error) {
	id, err := req.id(partResultSetID)
	if err != nil {
		return nil, err
	}
	if rs, ok := s.results[id]; ok {
		s.closeResultSet(rs)
	}
	return success(functionCloseCursor), nil
}

// rowsAffected is one number per row of parameters.
func rowsAffected(counts []int64) part {
	var data []byte
	for _, count := range counts {
		data = binary.LittleEndian.AppendUint32(data, uint32(int32(count)))
	}
	return part{kind: partRowsAffected, count: len(counts), data: data}
}
