package nulls3_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client speaks plain HTTP to a server.
type client struct {
	t    *testing.T
	http *http.Client
	url  string
}

func start(t *testing.T, options nulls3.Options) (*nulls3.Server, client) {
	t.Helper()
	server, err := nulls3.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	c := client{t, &http.Client{Transport: &http.Transport{}}, server.URL()}
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, c
}

// ask sends a request and returns status, headers and body.
func (c client) ask(method, path string, body io.Reader, header ...string) (int, http.Header, string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// begin starts a multipart upload and returns its id.
func (c client) begin(path string) string {
	c.t.Helper()
	_, _, text := c.ask(http.MethodPost, path+"?uploads", nil)
	var result struct {
		UploadID string `xml:"UploadId"`
	}
	if err := xml.Unmarshal([]byte(text), &result); err != nil || result.UploadID == "" {
		c.t.Fatalf("upload id: %v in %s", err, text)
	}
	return result.UploadID
}

// part sends size bytes as a part and returns status and ETag.
func (c client) part(path, id string, number, size int) (int, string) {
	c.t.Helper()
	status, header, _ := c.ask(http.MethodPut, fmt.Sprintf("%s?partNumber=%d&uploadId=%s", path, number, id), bytes.NewReader(make([]byte, size)))
	return status, header.Get("ETag")
}

func (c client) complete(path, id string, etags []string, header ...string) (int, string) {
	c.t.Helper()
	var body strings.Builder
	body.WriteString("<CompleteMultipartUpload>")
	for i, etag := range etags {
		fmt.Fprintf(&body, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, etag)
	}
	body.WriteString("</CompleteMultipartUpload>")
	status, _, text := c.ask(http.MethodPost, path+"?uploadId="+id, strings.NewReader(body.String()), header...)
	return status, text
}

func TestSmallObject(t *testing.T) {
	t.Parallel()
	_, c := start(t, nulls3.Options{})
	if status, _, _ := c.ask(http.MethodPut, "/bucket/a/b", strings.NewReader("0123456789")); status != http.StatusOK {
		t.Fatalf("PUT gave %d", status)
	}
	status, _, text := c.ask(http.MethodGet, "/bucket/a/b", nil, "Range", "bytes=2-4")
	if status != http.StatusPartialContent || text != "234" {
		t.Errorf("GET of a range gave %d, %q", status, text)
	}
	status, header, _ := c.ask(http.MethodHead, "/bucket/a/b", nil)
	if status != http.StatusOK || header.Get("Content-Length") != "10" {
		t.Errorf("HEAD gave %d, %v", status, header)
	}
	if status, _, text := c.ask(http.MethodPut, "/bucket/a/b", strings.NewReader("x"), "If-None-Match", "*"); status != http.StatusPreconditionFailed {
		t.Errorf("PUT over an object gave %d, %s", status, text)
	}
	for _, method := range []string{http.MethodDelete, http.MethodDelete} {
		if status, _, _ := c.ask(method, "/bucket/a/b", nil); status != http.StatusNoContent {
			t.Errorf("DELETE gave %d", status)
		}
	}
	if status, _, text := c.ask(http.MethodGet, "/bucket/a/b", nil); status != http.StatusNotFound || !strings.Contains(text, "NoSuchKey") {
		t.Errorf("GET of nothing gave %d, %s", status, text)
	}
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	server, c := start(t, nulls3.Options{})
	id := c.begin("/bucket/big")
	var etags []string
	for number, size := range []int{5 << 20, 6 << 20, 7} {
		status, etag := c.part("/bucket/big", id, number+1, size)
		if status != http.StatusOK {
			t.Fatalf("part gave %d", status)
		}
		etags = append(etags, etag)
	}
	if len(server.Objects()) != 0 || server.Uploads() != 1 {
		t.Errorf("before the end: %v, %d uploads", server.Objects(), server.Uploads())
	}
	if _, _, text := c.ask(http.MethodGet, "/bucket?uploads", nil); !strings.Contains(text, "<Key>big</Key>") {
		t.Errorf("ListMultipartUploads gave %s", text)
	}
	if status, text := c.complete("/bucket/big", id, etags); status != http.StatusOK {
		t.Fatalf("complete gave %d, %s", status, text)
	}
	want := []nulls3.Object{{Key: "bucket/big", Size: 11<<20 + 7, Parts: []int64{5 << 20, 6 << 20, 7}}}
	if diff := cmp.Diff(want, server.Objects()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if status, _, text := c.ask(http.MethodGet, "/bucket/big", nil); status != http.StatusGone {
		t.Errorf("GET of what was thrown away gave %d, %d bytes", status, len(text))
	}
	if status, header, _ := c.ask(http.MethodHead, "/bucket/big", nil); status != http.StatusOK || header.Get("Content-Length") != "11534343" {
		t.Errorf("HEAD gave %d, %v", status, header)
	}
	got := server.Counters()
	got.Requests = 0
	if diff := cmp.Diff(nulls3.Counters{Parts: 3, Bytes: 11<<20 + 7, Completed: 1, Refused: 1}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestMultipartOfSmallPartsIsKept(t *testing.T) {
	t.Parallel()
	_, c := start(t, nulls3.Options{})
	id := c.begin("/bucket/small")
	_, etag := c.part("/bucket/small", id, 1, 4097)
	if status, text := c.complete("/bucket/small", id, []string{etag}); status != http.StatusOK {
		t.Fatalf("complete gave %d, %s", status, text)
	}
	if status, _, text := c.ask(http.MethodGet, "/bucket/small", nil); status != http.StatusOK || len(text) != 4097 {
		t.Errorf("GET gave %d, %d bytes", status, len(text))
	}
}

func TestMultipartRefuses(t *testing.T) {
	t.Parallel()
	server, c := start(t, nulls3.Options{MaxParts: 2})
	id := c.begin("/bucket/x")
	_, small := c.part("/bucket/x", id, 1, 10)
	_, last := c.part("/bucket/x", id, 2, 10)
	if status, _ := c.part("/bucket/x", id, 3, 10); status != http.StatusBadRequest {
		t.Errorf("a part number above the limit gave %d", status)
	}
	if status, text := c.complete("/bucket/x", id, []string{small, last}); !strings.Contains(text, "EntityTooSmall") {
		t.Errorf("a small part that is not the last gave %d, %s", status, text)
	}
	if status, text := c.complete("/bucket/x", id, []string{`"00"`}); !strings.Contains(text, "InvalidPart") {
		t.Errorf("a wrong ETag gave %d, %s", status, text)
	}
	if status, _, _ := c.ask(http.MethodPut, "/bucket/x", strings.NewReader("first")); status != http.StatusOK {
		t.Fatalf("PUT gave %d", status)
	}
	if status, text := c.complete("/bucket/x", id, []string{small}, "If-None-Match", "*"); status != http.StatusPreconditionFailed {
		t.Errorf("completing over an object gave %d, %s", status, text)
	}
	if status, _, _ := c.ask(http.MethodDelete, "/bucket/x?uploadId="+id, nil); status != http.StatusNoContent {
		t.Errorf("abort gave %d", status)
	}
	if status, _ := c.part("/bucket/x", id, 1, 10); status != http.StatusNotFound {
		t.Errorf("a part of an aborted upload gave %d", status)
	}
	if server.Uploads() != 0 || server.Counters().Aborted != 1 {
		t.Errorf("%d uploads, %+v", server.Uploads(), server.Counters())
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	_, c := start(t, nulls3.Options{})
	for _, key := range []string{"a/1", "a/b/2", "a/b/3", "c"} {
		if status, _, _ := c.ask(http.MethodPut, "/bucket/"+key, strings.NewReader(key)); status != http.StatusOK {
			t.Fatalf("PUT gave %d", status)
		}
	}
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"", []string{"a/1", "a/b/2", "a/b/3", "c"}},
		{"list-type=2&prefix=a/", []string{"a/1", "a/b/2", "a/b/3"}},
		{"list-type=2&prefix=a/&delimiter=/", []string{"a/1", "a/b/"}},
		{"prefix=nothing", nil},
	} {
		_, _, text := c.ask(http.MethodGet, "/bucket?"+test.query, nil)
		var result struct {
			Contents       []struct{ Key string }
			CommonPrefixes []struct{ Prefix string }
		}
		if err := xml.Unmarshal([]byte(text), &result); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range result.Contents {
			got = append(got, o.Key)
		}
		for _, p := range result.CommonPrefixes {
			got = append(got, p.Prefix)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.query, diff)
		}
	}
}
