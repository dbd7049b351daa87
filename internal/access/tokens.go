package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// minToken is the length of the shortest token in a file that is accepted.
const minToken = 16

// maxToken bounds what is accepted as a bearer token. Those of service accounts
// have about 1 KiB.
const maxToken = 16 << 10

// Token gives a token as its file has it now.
type Token func() (string, error)

// tokens are those in files, by the identity that they prove.
type tokens struct {
	log    *zap.Logger
	byName map[string]Token

	mu      sync.Mutex
	trouble map[string]string // what is wrong with a file, as last logged
}

func newTokens(byName map[string]Token, log *zap.Logger) *tokens {
	return &tokens{log: log, byName: byName, trouble: make(map[string]string)}
}

// identify returns whose token it is, empty when it is nobody's. The files are
// read each time, so a rotated token counts at once, and all are compared, in
// constant time, so the time taken does not tell which was nearly right.
func (t *tokens) identify(given string) string {
	owner, owners := "", 0
	for _, identity := range slices.Sorted(maps.Keys(t.byName)) {
		want, err := t.byName[identity]()
		if err == nil && len(want) < minToken {
			err = fmt.Errorf("expected at least %d characters", minToken)
		}
		t.note(identity, err)
		if equal(given, want) && err == nil {
			owner = identity
			owners++
		}
	}
	if owners > 1 {
		t.note("several", errors.New("two files have the same token: whoever sends it is refused"))
		return ""
	}
	return owner
}

// note logs what is wrong with a file once, until that changes.
func (t *tokens) note(identity string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trouble[identity] == text {
		return
	}
	t.trouble[identity] = text
	if err != nil {
		t.log.Error("a token cannot be used; whoever sends it is refused", zap.String("identity", identity), zap.Error(err))
		return
	}
	t.log.Info("the token can be used again", zap.String("identity", identity))
}

// equal compares in constant time; the hashes hide the length.
func equal(a, b string) bool {
	sumA, sumB := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(sumA[:], sumB[:]) == 1
}

// presented returns the token of the Authorization header. A browser cannot
// send a bearer token when it opens a page, so the token may come as the
// password of Basic authentication, with any user name, for GET and HEAD only:
// browsers repeat Basic by themselves, whoever made them send the request.
func presented(r *http.Request) (token string, err error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", wrong("expected one Authorization header")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		token = rest
	case strings.EqualFold(scheme, "Basic") && !Safe(r.Method):
		return "", wrong("Basic authentication is accepted for GET and HEAD only")
	case strings.EqualFold(scheme, "Basic"):
		_, token, _ = r.BasicAuth()
	default:
		return "", wrong("expected the scheme Bearer")
	}
	if token == "" || len(token) > maxToken {
		return "", wrong(fmt.Sprintf("expected a token of 1 to %d bytes", maxToken))
	}
	return token, nil
}

// Safe reports whether a method cannot change anything here.
func Safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }
