package wire

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The proofs below are what npm hdb 2.30.1 (lib/protocol/auth/SCRAMSHA256.js)
// calculates. go-hdb does not look at the proof of the server.
func TestProofsAreThoseOfAnotherImplementation(t *testing.T) {
	tests := []struct {
		method, client, server string
	}{
		{
			methodPBKDF2,
			"070f570046db5440ad89cd4f219956cc7dc16685029c004dba023c73e8fd1295",
			"f33fc4e20c9e1af3d48d711b756e3285aed035e30eba3e01236a5bca73944dde",
		},
		{methodSHA256, "849f92ae9a81f930799af138fada9b95fd2605414b45bcf486c6befa2a5f5c58", ""},
	}
	for _, test := range tests {
		t.Run(test.method, func(t *testing.T) {
			e := exchange{
				method: test.method, salt: sequence(saltLength, 2),
				serverChallenge: sequence(serverChallengeLength, 3), clientChallenge: sequence(clientChallengeLength, 1),
			}
			answer, err := e.verify(decodeHex(t, test.client), testPassword)
			if err != nil {
				t.Fatal(err)
			}
			fields, err := authFields(answer.data)
			if err != nil || len(fields) != 2 || string(fields[0]) != test.method {
				t.Fatalf("fields %q (%v)", fields, err)
			}
			var want []byte
			if test.server != "" {
				want = append([]byte{1, 0, proofLength}, decodeHex(t, test.server)...)
			}
			if !bytes.Equal(fields[1], want) {
				t.Errorf("server proof % x, want % x", fields[1], want)
			}
		})
	}
}

func sequence(n, start int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + start)
	}
	return b
}

func decodeHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Drivers cache the key that they derive from password and salt.
func TestSaltIsConstantPerUser(t *testing.T) {
	salt := func(user string) []byte {
		offer := authPart([]byte(user), []byte(methodSHA256), make([]byte, clientChallengeLength))
		e, err := newExchange(offer, []string{methodSHA256}, "test")
		if err != nil {
			t.Fatal(err)
		}
		return e.salt
	}
	if !bytes.Equal(salt("A"), salt("A")) {
		t.Error("salt changes between logins")
	}
	if bytes.Equal(salt("A"), salt("B")) {
		t.Error("two users have one salt")
	}
}
