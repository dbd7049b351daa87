package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// Token gives the bearer token that requests must carry. It is asked for every
// request, so a rotated token counts at once.
type Token func() (string, error)

// authenticate lets requests with the right bearer token pass. Whatever goes
// wrong, the answer is no.
func (s *Server) authenticate(token Token, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := token()
		if err != nil {
			s.log.Error("the token cannot be read; every request over TCP is refused", zap.Error(err))
		}
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if err != nil || want == "" || !strings.EqualFold(scheme, "Bearer") || !equal(given, want) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="pipestreamer"`)
			p := newProblem(http.StatusUnauthorized, "unauthorized", "Not authenticated", "expected Authorization: Bearer with the token")
			p.Hint = "the token is in the file that http.tokenFile names"
			s.writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// equal compares in constant time; the hashes hide the length.
func equal(a, b string) bool {
	sumA, sumB := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(sumA[:], sumB[:]) == 1
}
