package wire

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

func TestCESU8(t *testing.T) {
	tests := []struct {
		name, text string
		encoded    []byte
		units      int
	}{
		{"empty", "", nil, 0},
		{"ASCII", "abc", []byte("abc"), 3},
		{"two bytes", "ß", []byte{0xc3, 0x9f}, 1},
		{"three bytes", "数", []byte{0xe6, 0x95, 0xb0}, 1},
		{"surrogate pair", "\U0001F4BE", []byte{0xed, 0xa0, 0xbd, 0xed, 0xb2, 0xbe}, 2},
		{"mixed", "a\U0001F4BEb", []byte{'a', 0xed, 0xa0, 0xbd, 0xed, 0xb2, 0xbe, 'b'}, 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			encoded := encodeCESU8(test.text)
			if !bytes.Equal(encoded, test.encoded) {
				t.Errorf("encoded % x, want % x", encoded, test.encoded)
			}
			if units := countUnits(encoded); units != test.units {
				t.Errorf("%d units, want %d", units, test.units)
			}
			if text, err := decodeCESU8(encoded); err != nil || text != test.text {
				t.Errorf("decoded %q (%v), want %q", text, err, test.text)
			}
		})
	}
}

func TestNotCESU8(t *testing.T) {
	for name, b := range map[string][]byte{
		"stray continuation":   {'a', 0x80},
		"cut":                  {0xe6, 0x95},
		"high surrogate alone": {0xed, 0xa0, 0xbd},
		"high surrogate, text": {0xed, 0xa0, 0xbd, 'a', 'b', 'c'},
		"low surrogate first":  {0xed, 0xb2, 0xbe, 0xed, 0xa0, 0xbd},
		"half a pair":          {0xed, 0xa0, 0xbd, 0xed, 0xb2},
	} {
		if text, err := decodeCESU8(b); err == nil {
			t.Errorf("%s: decoded to %q", name, text)
		}
	}
}

func TestCutsBetweenCharacters(t *testing.T) {
	b := encodeCESU8("a\U0001F4BEß")
	for units, want := range []int{0, 1, 1, 7, 9, 9} {
		if got := cutUnits(b, units); got != want {
			t.Errorf("cut after %d units at %d, want %d", units, got, want)
		}
	}
	if got := cutUnits(b[1:], 1); got != surrogateLength {
		t.Errorf("a pair with room for one unit is cut at %d, want %d", got, surrogateLength)
	}
}

func FuzzCESU8(f *testing.F) {
	f.Add([]byte(unicode))
	f.Add(encodeCESU8(unicode))
	f.Add([]byte{0xed, 0xa0, 0xbd})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := decodeCESU8(b)
		if err != nil {
			return
		}
		if !utf8.ValidString(text) {
			t.Fatalf("decoded to %q, which is not UTF-8", text)
		}
		again, err := decodeCESU8(encodeCESU8(text))
		if err != nil || again != text {
			t.Fatalf("%q became %q (%v)", text, again, err)
		}
	})
}

func FuzzLobPieces(f *testing.F) {
	f.Add(unicode, 3)
	f.Add("\U0001F4BE\U0001F4BE", 1)
	f.Fuzz(func(t *testing.T, text string, units int) {
		if units < 1 || len(text) > 1000 {
			return
		}
		data := encodeCESU8(text)
		lob := outLob{data: data}
		var read []byte
		for last := false; !last; {
			var piece []byte
			piece, last = lob.read(countUnits(read), units)
			if len(piece) == 0 && !last {
				t.Fatal("a read that gives nothing and is not the last")
			}
			read = append(read, piece...)
		}
		if !bytes.Equal(read, data) {
			t.Fatalf("read % x, want % x", read, data)
		}
		if piece, _ := lob.read(0, units); !bytes.HasPrefix(data, piece) {
			t.Fatalf("reading again from the start gives % x", piece)
		}
	})
}
