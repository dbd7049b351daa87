package uploader

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// With env_auth uploads that pass rclone by are signed for the role of the pod's
// service account, too: what EKS and its webhook set. The token file is read anew
// when credentials end, because kubelet rotates it. STS is the one thing here that
// is played: none can run on a test machine.
func TestWebIdentity(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	var shown []string
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.FormValue("Action")+" "+r.FormValue("RoleArn")+" "+r.FormValue("WebIdentityToken"))
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>key%d</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, len(shown), time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	for name, value := range map[string]string{
		"AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/backup", "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_REGION": "eu-central-1",
		"AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": token + ".none", "AWS_SHARED_CREDENTIALS_FILE": token + ".none",
	} {
		t.Setenv(name, value)
	}
	cfg, err := signing(t.Context(), map[string]string{"env_auth": "true", "provider": "AWS"})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, text := range []string{"first", "rotated"} {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		credentials, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, credentials.AccessKeyID)
	}
	want := []string{
		"AssumeRoleWithWebIdentity arn:aws:iam::000000000000:role/backup first",
		"AssumeRoleWithWebIdentity arn:aws:iam::000000000000:role/backup rotated",
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"key1", "key2"}, keys); diff != "" {
		t.Error(diff)
	}
}
