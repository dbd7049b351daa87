package uploader

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The suite runs direct in TestConformS3; here rclone makes the uploads.
func TestConformS3ThroughRclone(t *testing.T) {
	cfg := startS3(t).config()
	cfg.Options["no_system_metadata"] = "true"
	conform(t, cfg, smallestPart)
}

func TestWhoUploads(t *testing.T) {
	for _, test := range []struct {
		name    string
		root    string
		options map[string]string
		// why is in the reason for rclone; without it the upload is direct.
		why string
	}{
		{"AWS by the environment", "bucket/path", map[string]string{"provider": "AWS", "env_auth": "true", "region": "eu-central-1"}, ""},
		{"Ceph", "bucket", map[string]string{"provider": "Ceph", "endpoint": "s3.example.com", "access_key_id": "a", "secret_access_key": "s"}, ""},
		{"an option that is empty", "bucket", map[string]string{"provider": "Minio", "role_arn": ""}, ""},
		{"a provider with quirks", "bucket", map[string]string{"provider": "GCS"}, "GCS"},
		{"no provider", "bucket", nil, ""},
		{"a role", "bucket", map[string]string{"provider": "AWS", "role_arn": "arn:aws:iam::1:role/x"}, "role_arn"},
		{"a key of the client", "bucket", map[string]string{"provider": "AWS", "sse_customer_key": "k"}, "sse_customer_key"},
		{"a root that rclone encodes", "bucket/a\x01b", map[string]string{"provider": "AWS"}, "root"},
		{"a region that is none", "bucket", map[string]string{"provider": "Other", "region": "other-v2-signature"}, "region"},
		{"signatures of another kind", "bucket", map[string]string{"provider": "Other", "v2_auth": "true"}, "v2_auth"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, why, err := openDirect(t.Context(), Config{Root: test.root, Options: test.options}.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			if (d != nil) != (test.why == "") || !strings.Contains(why, test.why) {
				t.Errorf("direct %v because %q, want a reason with %q", d != nil, why, test.why)
			}
		})
	}
}

// What the store is told of a part, so that it can compare what has arrived, and
// that it does.
func TestPartsArriveAsTheyWere(t *testing.T) {
	server := startS3(t)
	data := make([]byte, smallestPart+17)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		options  backup.UploadOptions
		unsigned bool
		lane     string
	}{
		{name: "signed with the SHA-256 of the manifest"},
		{name: "signed without one in the manifest", options: backup.UploadOptions{NoSHA256: true}},
		{name: "with its CRC", unsigned: true},
		{name: "with its CRC alone", options: backup.UploadOptions{NoSHA256: true}, unsigned: true},
		{name: "by rclone, without a SHA-256", options: backup.UploadOptions{NoSHA256: true}, lane: "rclone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			store, _ := openS3(t, server, func(cfg *Config) {
				if test.unsigned {
					cfg.Options["use_unsigned_payload"] = "true"
				}
				if test.lane == "rclone" {
					cfg.Options["no_system_metadata"] = "true"
				}
			})
			var seen, unsigned, crc atomic.Int64
			server.faults.add(&fault{isPart(1), 1, func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				if r.Header.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD" {
					unsigned.Add(1)
				}
				if r.Header.Get("X-Amz-Checksum-Crc64nvme") != "" {
					crc.Add(1)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				body[len(body)/2] ^= 1 // on the way
				r.Body = io.NopCloser(bytes.NewReader(body))
				server.pass(w, r)
			}})
			stored := put(t, store, "k", data, test.options)
			wantStream(t, store, stored, data)
			if got := unsigned.Load() == 1 && crc.Load() == 1; seen.Load() != 1 || got != test.unsigned {
				t.Errorf("%d altered parts, %d unsigned, %d with a CRC", seen.Load(), unsigned.Load(), crc.Load())
			}
			object := stored.Objects[0]
			signed := !test.unsigned && test.lane == ""
			if none := test.options.NoSHA256; (object.SHA256 == "") != none || (stored.SHA256 == "") != none || (object.Parts[0].SHA256 != "") != signed {
				t.Errorf("SHA-256 of stream %q, object %q, part %q", stored.SHA256, object.SHA256, object.Parts[0].SHA256)
			}
			remove(t, store, "k")
		})
	}
}

// Without TLS nothing goes unsigned unless that is asked for.
func TestNothingUnsignedInTheClear(t *testing.T) {
	for _, test := range []struct {
		endpoint, option string
		want             bool
	}{
		{"", "", true},
		{"https://s3.example.com", "", true},
		{"s3.example.com", "", true},
		{"http://s3.example.com", "", false},
		{"http://s3.example.com", "true", true},
		{"http://s3.example.com", "false", false},
	} {
		d, why, err := openDirect(t.Context(), Config{Root: "bucket", Options: map[string]string{
			"provider": "Other", "endpoint": test.endpoint, "use_unsigned_payload": test.option, "access_key_id": "a", "secret_access_key": "s",
		}}.withDefaults())
		if err != nil || d == nil {
			t.Fatal(why, err)
		}
		if got := d.mayBeUnsigned(); got != test.want {
			t.Errorf("endpoint %q, use_unsigned_payload %q: %v", test.endpoint, test.option, got)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://s3.example.com")
	d, why, err := openDirect(t.Context(), Config{Root: "bucket", Options: map[string]string{"provider": "AWS", "env_auth": "true"}}.withDefaults())
	if err != nil || d == nil {
		t.Fatal(why, err)
	}
	if d.mayBeUnsigned() {
		t.Error("an endpoint of the environment is not looked at")
	}
}

// A store that passes over the checksum, or refuses it, gets signed parts.
func TestStoreWithoutCRC(t *testing.T) {
	server := startS3(t)
	isCreate := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploads") }
	for _, test := range []struct {
		name string
		do   http.HandlerFunc
	}{
		{"passed over", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
		}},
		{"refused", answer(http.StatusBadRequest, "InvalidRequest")},
		{"unknown", answer(http.StatusNotImplemented, "NotImplemented")},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			store, _ := openS3(t, server, func(cfg *Config) { cfg.Options["use_unsigned_payload"] = "true" })
			server.faults.add(&fault{isCreate, 1, test.do})
			upload, err := store.direct.create(t.Context(), "k", &upload{store: store, id: "mark"})
			if err != nil {
				t.Fatal(err)
			}
			if !upload.signs() || !store.direct.plain.Load() {
				t.Errorf("parts are signed %v, later uploads too %v", upload.signs(), store.direct.plain.Load())
			}
		})
	}
}

// A bucket in another region is found there.
func TestRegionIsFound(t *testing.T) {
	var regions []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=a/")
		region := strings.Split(scope, "/")[1]
		regions = append(regions, region)
		if region != "eu-central-1" {
			w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
			answer(http.StatusMovedPermanently, "PermanentRedirect")(w, r)
			return
		}
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
	}))
	defer server.Close()
	options := map[string]string{"provider": "Other", "endpoint": server.URL, "access_key_id": "a", "secret_access_key": "s"}
	d, why, err := openDirect(t.Context(), Config{Root: "bucket", Options: options}.withDefaults())
	if err != nil || d == nil {
		t.Fatal(why, err)
	}
	defer d.close()
	for range 2 {
		if _, err := d.create(t.Context(), "k", &upload{}); err != nil {
			t.Fatal(err)
		}
		if err := d.use(t.Context(), options); err != nil { // other credentials
			t.Fatal(err)
		}
	}
	if want := []string{"us-east-1", "eu-central-1", "eu-central-1"}; !slices.Equal(regions, want) {
		t.Errorf("signed for %v, want %v", regions, want)
	}
}

// A restore compares the CRC of each part, and what older manifests have.
func TestDamageIsFoundByEitherChecksum(t *testing.T) {
	data := []byte("what HANA wrote")
	for _, test := range []struct {
		name   string
		forget func(*backup.Part)
	}{
		{"CRC", func(p *backup.Part) { p.SHA256 = "" }},
		{"SHA-256", func(p *backup.Part) { p.CRC64NVME, p.SHA256 = "", hexSum(data) }},
		{"both", func(p *backup.Part) { p.SHA256 = hexSum(data) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, err := New(t.Context(), Config{Type: "s3", Root: "bucket", Options: startS3(t).config().Options}, zap.NewNop(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close(context.WithoutCancel(t.Context())) }()
			stored := put(t, store, "k", data, backup.UploadOptions{})
			test.forget(&stored.Objects[0].Parts[0])
			wantStream(t, store, stored, data)
			damaged := bytes.Clone(data)
			damaged[3] ^= 1
			if err := (subject{store}).Overwrite(t.Context(), "k", damaged); err != nil {
				t.Fatal(err)
			}
			reader, err := store.OpenStream(t.Context(), stored.Objects)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = reader.Close() }()
			got, err := io.ReadAll(reader)
			wantIs(t, err, backup.ErrCorrupt)
			if len(got) != 0 {
				t.Errorf("%d damaged bytes were delivered", len(got))
			}
		})
	}
}

func put(t *testing.T, store *Store, key string, data []byte, options backup.UploadOptions) backup.Stored {
	t.Helper()
	upload, err := store.Begin(t.Context(), key, options)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
	if err == nil {
		err = upload.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func remove(t *testing.T, store *Store, key string) {
	t.Helper()
	if err := store.Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}
