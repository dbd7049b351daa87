package wire

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Authentication methods that the server knows. Both prove a password without
// sending it.
const (
	methodPBKDF2 = "SCRAMPBKDF2SHA256"
	methodSHA256 = "SCRAMSHA256"
)

const (
	saltLength            = 16
	serverChallengeLength = 48
	clientChallengeLength = 64
	proofLength           = sha256.Size
	pbkdf2Rounds          = 15000 // HANA's default
)

// Length indicators of authentication fields, beside those of other fields: 255
// and two bytes big-endian, and up to 250 the byte itself (SAP HANA SQL Command
// Network Protocol Reference: authentication; go-hdb writes both forms).
const (
	authFieldMaxShort = 250
	authFieldUint16   = 255
)

// authFields reads a count and so many fields.
func authFields(data []byte) ([][]byte, error) {
	c := cursor{b: data}
	count := int(c.i16())
	var fields [][]byte
	for i := 0; i < count && c.err == nil; i++ {
		fields = append(fields, c.authField())
	}
	return fields, c.err
}

func (c *cursor) authField() []byte {
	switch indicator := c.u8(); {
	case indicator == fieldInt16:
		return c.take(int(c.i16()))
	case indicator == fieldInt32:
		return c.take(int(c.i32()))
	case indicator <= authFieldMaxShort:
		return c.take(int(indicator))
	case indicator == authFieldUint16:
		return c.take(int(binary.BigEndian.Uint16(c.fixed(2))))
	default:
		c.fail("length indicator %d", indicator)
		return nil
	}
}

func encodeAuthFields(fields ...[]byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(fields)))
	for _, field := range fields {
		if len(field) > fieldMaxShort && len(field) <= math.MaxUint16 {
			b = binary.BigEndian.AppendUint16(append(b, authFieldUint16), uint16(len(field)))
			b = append(b, field...)
			continue
		}
		b = appendField(b, field)
	}
	return b
}

func authPart(fields ...[]byte) part {
	return part{kind: partAuthentication, count: 1, data: encodeAuthFields(fields...)}
}

// exchange is a login under way.
type exchange struct {
	user            string
	method          string
	salt            []byte
	serverChallenge []byte
	clientChallenge []byte
}

// newExchange reads an AUTHENTICATE request, which is the user, then pairs of
// method and client challenge, and takes the first of methods that is offered.
// The salt is the same for a user every time, because drivers cache the key that
// they derive with it.
func newExchange(p part, methods []string, listener string) (*exchange, error) {
	fields, err := authFields(p.data)
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%w: authentication without a user", errMalformed)
	}
	user, err := decodeCESU8(fields[0])
	if err != nil {
		return nil, authenticationFailed()
	}
	offers := make(map[string][]byte)
	for pair := range slices.Chunk(fields[1:], 2) {
		if len(pair) == 2 {
			offers[string(pair[0])] = pair[1]
		}
	}
	for _, method := range methods {
		challenge, ok := offers[method]
		if !ok {
			continue
		}
		if len(challenge) != clientChallengeLength {
			return nil, fmt.Errorf("%w: client challenge of %d bytes", errMalformed, len(challenge))
		}
		salt := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s", listener, user))
		server := make([]byte, serverChallengeLength)
		_, _ = rand.Read(server) // never fails: crypto/rand
		return &exchange{user: user, method: method, salt: salt[:saltLength], serverChallenge: server, clientChallenge: challenge}, nil
	}
	return nil, authenticationFailed()
}

// challenge is the answer to AUTHENTICATE: method, and a block of salt, server
// challenge and, for PBKDF2, the rounds in big-endian.
func (e *exchange) challenge() part {
	block := [][]byte{e.salt, e.serverChallenge}
	if e.method == methodPBKDF2 {
		block = append(block, binary.BigEndian.AppendUint32(nil, pbkdf2Rounds))
	}
	return authPart([]byte(e.method), encodeAuthFields(block...))
}

// proof reads a CONNECT request: user, method and a block of count and proof. The
// count is little-endian in go-hdb and big-endian in npm hdb, so it is not looked
// at.
func (e *exchange) proof(p part) ([]byte, error) {
	fields, err := authFields(p.data)
	if err != nil {
		return nil, err
	}
	if len(fields) != 3 || string(fields[1]) != e.method {
		return nil, fmt.Errorf("%w: %d authentication fields for %s", errMalformed, len(fields), e.method)
	}
	if user, err := decodeCESU8(fields[0]); err != nil || user != e.user {
		return nil, authenticationFailed()
	}
	c := cursor{b: fields[2]}
	c.u16()
	proof := c.authField()
	return proof, c.err
}

// verify checks the client's proof against the password and gives the answer to
// CONNECT, which for PBKDF2 proves to the client that the server knows the
// password too.
func (e *exchange) verify(proof []byte, password string) (part, error) {
	salted := hash([]byte(password), e.salt)
	if e.method == methodPBKDF2 {
		var err error
		if salted, err = pbkdf2.Key(sha256.New, password, e.salt, pbkdf2Rounds, proofLength); err != nil {
			return part{}, fmt.Errorf("derive key: %w", err)
		}
	}
	if !hmac.Equal(proof, e.clientProof(salted)) {
		return part{}, authenticationFailed()
	}
	var answer []byte
	if e.method == methodPBKDF2 {
		answer = encodeAuthFields(hash(hash(salted, e.salt), e.clientChallenge, e.salt, e.serverChallenge))
	}
	return authPart([]byte(e.method), answer), nil
}

func (e *exchange) clientProof(salted []byte) []byte {
	key := sha256.Sum256(salted)
	verifier := sha256.Sum256(key[:])
	proof := hash(verifier[:], e.salt, e.serverChallenge, e.clientChallenge)
	for i := range proof {
		proof[i] ^= key[i]
	}
	return proof
}

// hash is HMAC-SHA256.
func hash(key []byte, messages ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, message := range messages {
		h.Write(message)
	}
	return h.Sum(nil)
}
