package wire

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// Text travels as CESU-8 (SAP HANA SQL Command Network Protocol Reference): like
// UTF-8, but a character beyond the basic plane is a pair of surrogates, three
// bytes each. HANA counts LOB characters in these UTF-16 units.

var errNotCESU8 = errors.New("invalid character encoding")

const surrogateLength = 3

// encodeCESU8 encodes s. Bytes that are not UTF-8 become U+FFFD.
func encodeCESU8(s string) []byte {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r < 0x10000 {
			b = utf8.AppendRune(b, r)
			continue
		}
		high, low := utf16.EncodeRune(r)
		b = appendSurrogate(appendSurrogate(b, high), low)
	}
	return b
}

// appendSurrogate encodes what utf8.AppendRune refuses to.
func appendSurrogate(b []byte, r rune) []byte {
	return append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
}

// decodeCESU8 gives the text as UTF-8. Four-byte UTF-8 is let through, since
// some clients can be told to send it.
func decodeCESU8(b []byte) (string, error) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	text := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 {
			r, n = utf16.DecodeRune(surrogate(b), surrogate(b[min(surrogateLength, len(b)):])), 2*surrogateLength
			if r == utf8.RuneError {
				return "", errNotCESU8
			}
		}
		text = utf8.AppendRune(text, r)
		b = b[n:]
	}
	return string(text), nil
}

// surrogate gives the surrogate that b starts with, or 0.
func surrogate(b []byte) rune {
	if len(b) < surrogateLength || b[0] != 0xed || b[1]&0xe0 != 0xa0 || b[2]&0xc0 != 0x80 {
		return 0
	}
	return 0xd000 | rune(b[1]&0x3f)<<6 | rune(b[2]&0x3f)
}

// countUnits counts the UTF-16 units of CESU-8 text.
func countUnits(b []byte) int {
	units := 0
	for _, c := range b {
		if c&0xc0 != 0x80 {
			units++
		}
	}
	return units
}

// skipUnits gives the length in bytes of the first units of CESU-8 text.
func skipUnits(b []byte, units int) int {
	end := 0
	for ; end < len(b) && units > 0; units-- {
		end++
		for end < len(b) && b[end]&0xc0 == 0x80 {
			end++
		}
	}
	return end
}

// cutUnits is skipUnits that does not part a surrogate pair, unless that is all
// there is to give.
func cutUnits(b []byte, units int) int {
	end := skipUnits(b, units)
	if end > surrogateLength && end < len(b) && isHighSurrogate(surrogate(b[end-surrogateLength:])) {
		return end - surrogateLength
	}
	return end
}

func isHighSurrogate(r rune) bool { return r >= 0xd800 && r < 0xdc00 }
