package faultys3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, target string
		want           Kind
	}{
		{http.MethodPost, "/bucket/a/b?uploads=", Create},
		{http.MethodPut, "/bucket/a/b?partNumber=1&uploadId=x", Part},
		{http.MethodPost, "/bucket/a/b?uploadId=x", Complete},
		{http.MethodDelete, "/bucket/a/b?uploadId=x", Abort},
		{http.MethodPut, "/bucket/a/b", Put},
		{http.MethodGet, "/bucket/a/b", Get},
		{http.MethodHead, "/bucket/a/b", Head},
		{http.MethodDelete, "/bucket/a/b", Delete},
		{http.MethodPost, "/bucket/?delete=", Delete},
		{http.MethodGet, "/bucket/?list-type=2&prefix=a%2F", List},
		{http.MethodGet, "/bucket?prefix=a%2F", List},
		{http.MethodGet, "/bucket?uploads=", Other},
		{http.MethodGet, "/bucket/a/b?uploadId=x", Other},
		{http.MethodHead, "/bucket", Other},
	} {
		if got := KindOf(httptest.NewRequest(test.method, test.target, http.NoBody)); got != test.want {
			t.Errorf("%s %s is %s, expected %s", test.method, test.target, got, test.want)
		}
	}
}

// start runs a proxy before a server that says back what it was asked, and gives
// a function that asks.
func start(t *testing.T) (*Server, func(method, path, body string) (string, error)) {
	t.Helper()
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("ETag", `"right"`)
		_, _ = fmt.Fprintf(w, "%s %s %s: <ETag>right</ETag> %s", r.Host, r.Method, r.URL.Path, body)
	}))
	t.Cleanup(behind.Close)
	server, err := Start(t.Context(), behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	return server, func(method, path, body string) (string, error) {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+server.Address()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "signed.example"
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=old/20260101/us-east-1/s3/aws4_request, SignedHeaders=host")
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(response.Body)
		return fmt.Sprint(response.StatusCode, " ", response.Header.Get("ETag"), " ", string(text)), errors.Join(err, response.Body.Close())
	}
}

const plain = `200 "right" signed.example GET /b/k: <ETag>right</ETag> 0123456789`

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer Answer
		want   string // contained in the answer
		err    error
	}{
		{name: "refuse", answer: Refuse(http.StatusServiceUnavailable, "SlowDown"), want: "<Code>SlowDown</Code>"},
		{name: "an error inside", answer: ErrorInside("InternalError"), want: "200  <?xml"},
		{name: "refuse a key", answer: RefuseWhile(func(key string) bool { return key == "old" }, 403, "ExpiredToken"), want: "403  <?xml"},
		{name: "let another key pass", answer: RefuseWhile(func(key string) bool { return key == "new" }, 403, "ExpiredToken"), want: plain},
		{name: "lose the answer", answer: LoseAnswer, err: syscall.ECONNRESET},
		{name: "reset", answer: Reset, err: syscall.ECONNRESET},
		{name: "delay", answer: Delay(time.Millisecond), want: plain},
		{name: "slow body", answer: SlowBody(3, time.Millisecond), want: plain},
		{name: "wrong ETag", answer: WrongETag, want: `200 "00000000000000000000000000000000" signed.example GET /b/k: <ETag>&quot;00000000000000000000000000000000&quot;</ETag> 0123456789`},
		{name: "truncate", answer: Truncate, want: `200 "right" signed.example GET /b/k: <E`},
		{name: "break off", answer: BreakOff, err: io.ErrUnexpectedEOF},
		{name: "damage", answer: Damage, want: "<EUag>"},
		{name: "damage the request", answer: DamageRequest, want: "0123446789"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, ask := start(t)
			rule := server.Add(Match{Key: "/b/k"}, test.answer)
			got, err := ask(http.MethodGet, "/b/k", "0123456789")
			// A connection that is reset after some bytes may also end unexpectedly.
			if test.err != nil && !errors.Is(err, test.err) && !errors.Is(err, syscall.ECONNRESET) || test.err == nil && err != nil {
				t.Errorf("got error %v, expected %v", err, test.err)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %q, expected %q", got, test.want)
			}
			if rule.Hits() != 1 {
				t.Errorf("the rule was applied %d times", rule.Hits())
			}
			rule.Remove()
			got, err = ask(http.MethodGet, "/b/k", "0123456789")
			if diff := cmp.Diff(plain, got); diff != "" || err != nil {
				t.Errorf("without the rule (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	server, ask := start(t)
	rule := server.Add(Match{}, BlackHole)
	answered := make(chan error, 1)
	go func() {
		_, err := ask(http.MethodPut, "/b/k", "body")
		answered <- err
	}()
	<-rule.Reached()
	select {
	case err := <-answered:
		t.Errorf("it was answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := server.http.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil {
		t.Error("a request that nobody answers succeeded")
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	server, ask := start(t)
	server.Add(Match{Kinds: []Kind{Put}, Key: "/data/", After: 1, Count: 2}, Refuse(http.StatusForbidden, "AccessDenied"))
	noticed := server.Notice(Match{Kinds: []Kind{Put}})
	var got bytes.Buffer
	for _, request := range [][2]string{
		{http.MethodGet, "/b/data/1"},
		{http.MethodPut, "/b/other"},
		{http.MethodPut, "/b/data/1"},
		{http.MethodPut, "/b/data/2"},
		{http.MethodPut, "/b/data/3"},
		{http.MethodPut, "/b/data/4"},
	} {
		answer, err := ask(request[0], request[1], "")
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(answer[:4])
	}
	if diff := cmp.Diff("200 200 200 403 403 200 ", got.String()); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if noticed.Hits() != 3 {
		t.Errorf("%d writes that succeeded were noticed, expected 3", noticed.Hits())
	}
}

// What is held is subject to the rules of the moment in which it is let go.
func TestHold(t *testing.T) {
	t.Parallel()
	server, ask := start(t)
	held := server.Hold(Match{Kinds: []Kind{Put}})
	answered := make(chan string, 1)
	go func() {
		answer, err := ask(http.MethodPut, "/b/k", "")
		answered <- fmt.Sprint(answer, err)
	}()
	<-held.Reached()
	server.Add(Match{}, Refuse(http.StatusForbidden, "AccessDenied"))
	held.Remove()
	if got := <-answered; !strings.HasPrefix(got, "403") {
		t.Errorf("got %s", got)
	}
	server.Clear()
	if got, err := ask(http.MethodGet, "/b/k", "0123456789"); got != plain || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
