package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/big"
	"testing"
	"time"
)

func FuzzReadRequest(f *testing.F) {
	f.Add(encodeRequest(0, messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte("SELECT")}))
	f.Add(encodeRequest(7, messageExecute, idPart(partStatementID, 1), part{kind: partParameters, count: 70000, data: []byte{typeNull}}))
	f.Add(encodeRequest(7, messageFetchNext, idPart(partResultSetID, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := readRequest(bytes.NewReader(b), loginMessageLimit)
		if err != nil {
			return
		}
		size := 0
		for _, p := range req.parts {
			size += len(p.data)
		}
		if size > len(b) {
			t.Fatalf("%d bytes of parts in a message of %d", size, len(b))
		}
	})
}

func FuzzAuthentication(f *testing.F) {
	challenge := make([]byte, clientChallengeLength)
	f.Add(encodeAuthFields([]byte(testUser), []byte(methodPBKDF2), challenge), encodeAuthFields([]byte(testUser), []byte(methodPBKDF2), []byte("proof")))
	f.Add(encodeAuthFields([]byte(testUser), []byte(methodSHA256), challenge), encodeAuthFields(make([]byte, 300)))
	f.Add([]byte{255, 255, 255, 0, 0}, []byte{1, 0, 246, 255, 255})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		e, err := newExchange(part{data: first}, []string{methodPBKDF2, methodSHA256}, "fuzz")
		if err != nil {
			return
		}
		proof, err := e.proof(part{data: second})
		if err != nil {
			return
		}
		e.method = methodSHA256 // PBKDF2 takes its time
		if _, err := e.verify(proof, testPassword); err == nil {
			t.Fatal("proven without the password")
		}
	})
}

func FuzzParameters(f *testing.F) {
	columns := []Column{{Type: NVarchar}, {Type: NClob}, {Type: Boolean}}
	le := binary.LittleEndian
	f.Add(1, []byte{typeNString, 1, 'a', typeNClob, lobLastData, 1, 0, 0, 0, 0, 0, 0, 0, typeBoolean, 2, 'x'})
	f.Add(2, []byte{typeNVarchar | typeNull, typeNClob | typeNull, typeTinyInt, 1})
	f.Add(1<<30, le.AppendUint64([]byte{typeLongDate}, 1))
	f.Add(1, append([]byte{typeDecimal}, make([]byte, decimalLength)...))
	f.Fuzz(func(t *testing.T, count int, b []byte) {
		rows, err := parseParameters(part{count: count, data: b}, columns)
		if err == nil && len(rows) != count {
			t.Fatalf("%d rows, want %d", len(rows), count)
		}
	})
}

// typeNull is the bit of a type code that says NULL.
const typeNull = 0x80

func FuzzOptions(f *testing.F) {
	f.Add(1, connectOptions(highestFormat).data)
	f.Add(1<<30, []byte{1, optionString, 255, 255})
	f.Fuzz(func(_ *testing.T, count int, b []byte) {
		_, _ = negotiateFormat(part{count: count, data: b})
	})
}

// FuzzSession sends a logged-in session two requests of any kind.
func FuzzSession(f *testing.F) {
	f.Add(encodeRequest(1, messageExecuteDirect, part{kind: partCommand, count: 1, data: []byte("SELECT")}), encodeRequest(1, messageFetchNext, idPart(partResultSetID, 1)))
	f.Add(encodeRequest(1, messagePrepare, part{kind: partCommand, count: 1, data: []byte("INSERT")}), encodeRequest(1, messageExecute, idPart(partStatementID, 1), part{kind: partParameters, count: 1, data: []byte{typeNClob, 0, 0, 0, 0, 0, 0, 0, 0, 0}}))
	f.Add(encodeRequest(1, messageReadLob, part{kind: partReadLobRequest, count: 1, data: make([]byte, 24)}), encodeRequest(1, messageWriteLob, part{kind: partWriteLobRequest, count: 1, data: make([]byte, 21)}))
	backend := &scripted{statements: map[string]script{
		"SELECT": {columns: numberColumns, rows: numbers(200)},
		"INSERT": {parameters: []Column{{Type: NClob}}},
	}}
	f.Fuzz(func(t *testing.T, messages, more []byte) {
		s := newSession(&scriptedSession{backend}, highestFormat)
		r := bytes.NewReader(append(bytes.Clone(messages), more...))
		for {
			req, err := readRequest(r, loginMessageLimit)
			if err != nil {
				return
			}
			answer, err := s.handle(context.Background(), req)
			if err != nil {
				answer = errorReply(asError(err))
			}
			if len(answer.encode(1, 1))%partAlignment != 0 {
				t.Fatal("a reply that is not padded")
			}
		}
	})
}

func FuzzTimes(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(time.Date(1582, 10, 15, 0, 0, 0, 0, time.UTC).Unix(), int64(100))
	f.Add(time.Date(1582, 10, 14, 0, 0, 0, 0, time.UTC).Unix(), int64(999_999_900))
	f.Fuzz(func(t *testing.T, seconds, nanoseconds int64) {
		want := time.Unix(seconds, nanoseconds%int64(time.Second)).UTC().Truncate(100)
		if want.Before(time.Date(1582, 10, 15, 0, 0, 0, 0, time.UTC)) || want.Year() > 9999 {
			return // in the Julian calendar some dates have no counterpart
		}
		c := cursor{b: appendTime(nil, typeLongDate, want)}
		if got := c.time(typeLongDate); !got.Equal(want) || c.err != nil {
			t.Fatalf("%v became %v (%v)", want, got, c.err)
		}
	})
}

func FuzzDecimals(f *testing.F) {
	f.Add(int64(1), 5)
	f.Add(int64(-999), -30)
	f.Fuzz(func(t *testing.T, mantissa int64, exponent int) {
		if exponent < -6000 || exponent > 6000 {
			return
		}
		want := new(big.Rat).SetInt64(mantissa)
		power := new(big.Rat).SetInt(power10(max(exponent, -exponent)))
		if exponent < 0 {
			power.Inv(power)
		}
		want.Mul(want, power)
		b, err := appendDecimal(nil, want, floatingScale)
		if err != nil {
			t.Fatal(err)
		}
		c := cursor{b: b}
		if got := c.decimal(); got.Cmp(want) != 0 || c.err != nil {
			t.Fatalf("%v became %v (%v)", want, got, c.err)
		}
	})
}
