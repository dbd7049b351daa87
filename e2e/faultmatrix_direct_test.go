package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// multipartUpload is one that was neither completed nor aborted.
type multipartUpload struct {
	Key string
	ID  string `xml:"UploadId"`
}

// uploads asks the S3 server itself, past every proxy and the daemon.
func (c *faultCase) uploads() []multipartUpload {
	c.t.Helper()
	status, text := c.askServer(http.MethodGet, "/bucket", url.Values{"uploads": {""}})
	var list struct {
		IsTruncated bool
		Uploads     []multipartUpload `xml:"Upload"`
	}
	if err := xml.Unmarshal(text, &list); err != nil || status != http.StatusOK || list.IsTruncated {
		c.t.Fatalf("list multipart uploads: status %d, %v\n%s", status, err, text)
	}
	return list.Uploads
}

// removeLeftovers does what the job asks of the operator: what it says that it
// may have left in the store is removed. Anything else there is an error. An
// answer that got lost may have been a good one, so nothing has to be there.
func (c *faultCase) removeLeftovers(record job.Record) {
	c.t.Helper()
	said := strings.Join(record.Consequences, "\n")
	uploads := c.uploads()
	objects := slices.DeleteFunc(slices.Collect(maps.Keys(c.depot.objects(c.t))), func(key string) bool {
		return strings.HasPrefix(key, "/.sgwtmp/") // parts of an upload
	})
	for _, upload := range uploads {
		c.expectNamed(said, strings.TrimPrefix(upload.Key, c.depot.root+"/"))
		status, text := c.askServer(http.MethodDelete, "/bucket/"+upload.Key, url.Values{"uploadId": {upload.ID}})
		// The daemon, which goes on trying, may have been faster.
		if status != http.StatusNoContent && status != http.StatusNotFound {
			c.t.Errorf("abort the upload of %s: status %d\n%s", upload.Key, status, text)
		}
	}
	for _, key := range objects {
		c.expectNamed(said, key)
		if err := os.Remove(c.depot.path(key)); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.t.Error(err)
		}
	}
}

func (c *faultCase) expectNamed(said, key string) {
	c.t.Helper()
	if !strings.Contains(said, key) {
		c.t.Errorf("%s is left in the store and the job does not say so: %q", key, said)
	}
}

// askServer sends a request without a body, signed as S3 wants it (AWS
// Signature Version 4), to the S3 server.
func (c *faultCase) askServer(method, path string, query url.Values) (int, []byte) {
	c.t.Helper()
	request, err := http.NewRequest(method, c.depot.server+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	sign(request, time.Now().UTC())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, text
}

func sign(r *http.Request, now time.Time) {
	const (
		headers = "host;x-amz-content-sha256;x-amz-date"
		payload = "UNSIGNED-PAYLOAD"
	)
	stamp, scope := now.Format("20060102T150405Z"), now.Format("20060102")+"/us-east-1/s3/aws4_request"
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), r.URL.RawQuery,
		"host:" + r.URL.Host, "x-amz-content-sha256:" + payload, "x-amz-date:" + stamp, "", headers, payload,
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + s3Secret)
	for _, step := range append(strings.Split(scope, "/"), text) {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(step)) // a hash never returns an error
		key = mac.Sum(nil)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s3Access+"/"+scope+
		", SignedHeaders="+headers+", Signature="+hex.EncodeToString(key))
}
