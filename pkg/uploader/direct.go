package uploader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// direct writes to an S3 store, and reads parts from it, without rclone, which makes
// an MD5 of every part and, over plain HTTP, another SHA-256 (backend/s3/s3.go,
// WriteChunk). It takes its settings from rclone's options. Everything else is
// asked of rclone.
type direct struct {
	client  atomic.Pointer[s3.Client]
	http    *http.Client
	options map[string]string
	bucket  string
	// root is what keys begin with, empty or with a final slash.
	root string
	// region is where the bucket was found, nil as long as nobody said so.
	region atomic.Pointer[string]
	// plain is set when the store has refused to compare a CRC-64/NVME.
	plain atomic.Bool
}

// honours tells whether direct does what an option of rclone's s3 backend says, or
// whether it has nothing to do with a multipart upload.
func honours(option string) bool {
	switch option {
	case "access_key_id", "secret_access_key", "session_token", "env_auth", "profile", "shared_credentials_file",
		"provider", "region", "endpoint", "force_path_style", "use_dual_stack", "use_accelerate_endpoint", "use_unsigned_payload",
		"acl", "requester_pays", "storage_class", "server_side_encryption", "sse_kms_key_id":
		return true
	case "bucket_acl", "copy_cutoff", "disable_checksum", "list_chunk", "list_url_encode", "list_version", "location_constraint",
		"might_gzip", "no_check_bucket", "no_head", "no_head_object", "upload_cutoff", "use_accept_encoding_gzip",
		"use_already_exists", "use_multipart_etag", "use_presigned_request", "chunk_size", "upload_concurrency", "max_upload_parts":
		return true
	default:
		return false
	}
}

// namesBucket tells for a provider that direct knows whether rclone names the
// bucket in the path (backend/s3/provider). Others may have more quirks.
func namesBucket(provider string) (inPath, known bool) {
	switch provider {
	case "Ceph", "Cloudflare", "FlashBlade", "HCP", "Minio", "Other", "Rclone", "Scality", "SeaweedFS":
		return true, true
	case "AWS", "DigitalOcean", "Hetzner", "OVHcloud", "Wasabi":
		return false, true
	default:
		return false, false
	}
}

// openDirect returns what writes to the root of cfg without rclone, or why
// rclone has to do it.
func openDirect(ctx context.Context, cfg Config) (*direct, string, error) {
	if why := onlyRclone(cfg.Options); why != "" {
		return nil, why, nil
	}
	bucket, root, _ := strings.Cut(strings.Trim(cfg.Root, "/"), "/")
	if root != "" {
		root += "/"
	}
	if err := checkPrefix(root); err != nil {
		return nil, "rclone encodes the root: " + err.Error(), nil //nolint:nilerr // not a fault: rclone can do it
	}
	d := &direct{http: &http.Client{Transport: newTransport(cfg), CheckRedirect: stay}, bucket: bucket, root: root}
	if err := d.use(ctx, cfg.Options); err != nil {
		return nil, "", fmt.Errorf("open store s3 root %q: %w", cfg.Root, err)
	}
	return d, "", nil
}

// onlyRclone says what among the settings of an s3 remote only rclone honours, ""
// when there is nothing. rclone finds options in its environment too.
func onlyRclone(options map[string]string) string {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "RCLONE_S3_") || strings.HasPrefix(name, "RCLONE_CONFIG_PIPESTREAMER_") {
			return name + " is set in the environment"
		}
	}
	for name, value := range options {
		if value != "" && !honours(name) {
			return "option " + name + " is set"
		}
	}
	if options["region"] == "other-v2-signature" {
		return "the region asks for signatures of another kind"
	}
	if _, known := namesBucket(provider(options)); !known {
		return fmt.Sprintf("provider %q may have quirks", provider(options))
	}
	return ""
}

// provider is what rclone makes of the option.
func provider(options map[string]string) string { return cmp.Or(options["provider"], "Other") }

// stay follows no redirect: the request is signed for one host.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport keeps a connection for every part in flight.
func newTransport(cfg Config) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: min(time.Minute, cfg.StallTimeout), KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: min(time.Minute, cfg.StallTimeout),
		MaxIdleConnsPerHost: cfg.Streams * (cfg.Concurrency + 1),
		IdleConnTimeout:     time.Minute,
		// A part is written with a quarter of the system calls.
		WriteBufferSize: 256 << 10,
		// Nobody asks for a compressed answer: stores differ in whether the
		// header that would is part of what is signed.
		DisableCompression: true,
	}
}

// use makes d sign its requests with the credentials among options from now on.
func (d *direct) use(ctx context.Context, options map[string]string) error {
	cfg, err := signing(ctx, options)
	if err != nil {
		return err
	}
	cfg.Region = cmp.Or(options["region"], "us-east-1") // as rclone
	if found := d.region.Load(); found != nil {
		cfg.Region = *found
	}
	d.options = options
	d.client.Store(s3.NewFromConfig(cfg, d.configure))
	return nil
}

// signing finds the credentials where rclone does (backend/s3/s3.go,
// s3Connection).
func signing(ctx context.Context, options map[string]string) (cfg aws.Config, err error) {
	key, secret := options["access_key_id"], options["secret_access_key"]
	switch {
	case key == "" && secret == "" && on(options, "env_auth"):
		var load []func(*config.LoadOptions) error
		if profile := options["profile"]; profile != "" {
			load = append(load, config.WithSharedConfigProfile(profile))
		}
		if file := options["shared_credentials_file"]; file != "" {
			load = append(load, config.WithSharedConfigFiles([]string{file}))
		}
		if cfg, err = config.LoadDefaultConfig(ctx, load...); err != nil {
			err = fmt.Errorf("env_auth: %w", err)
		}
	case key == "" && secret == "":
		cfg.Credentials = aws.AnonymousCredentials{}
	default:
		cfg.Credentials = credentials.NewStaticCredentialsProvider(key, secret, options["session_token"])
	}
	return cfg, err
}

func (d *direct) configure(o *s3.Options) {
	o.HTTPClient = d.http
	// This package repeats what fails.
	o.Retryer = aws.NopRetryer{}
	// Each part has a checksum of ours.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	// Waiting for "100 Continue" would cost a round trip for each part.
	o.ContinueHeaderThresholdBytes = -1
	inPath, _ := namesBucket(provider(d.options))
	o.UsePathStyle = inPath && (d.options["force_path_style"] == "" || on(d.options, "force_path_style"))
	o.UseAccelerate = on(d.options, "use_accelerate_endpoint")
	if on(d.options, "use_dual_stack") {
		o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	if endpoint := d.options["endpoint"]; endpoint != "" {
		if !strings.HasPrefix(endpoint, "http") {
			endpoint = "https://" + endpoint
		}
		o.BaseEndpoint = &endpoint
	}
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("PlainRequest", plainRequest), "Signing", middleware.Before)
	})
}

// plainRequest drops from what is signed the header that some proxies change,
// and the parameter that some stores do not know.
func plainRequest(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	if request, ok := in.Request.(*smithyhttp.Request); ok {
		request.Header.Del("Accept-Encoding")
		query := request.URL.Query()
		query.Del("x-id")
		request.URL.RawQuery = query.Encode()
	}
	return next.HandleFinalize(ctx, in)
}

// mayBeUnsigned tells whether TLS, or somebody's wish, makes it needless to sign
// what a request carries. With env_auth the SDK may know an endpoint that the
// options do not have.
func (d *direct) mayBeUnsigned() bool {
	endpoint := aws.ToString(d.client.Load().Options().BaseEndpoint)
	return !strings.HasPrefix(strings.ToLower(endpoint), "http:") || on(d.options, "use_unsigned_payload")
}

// moved tells whether err says that the bucket is in another region than the one
// for which requests are signed, and signs for that one from now on. rclone does
// the same (backend/s3/s3.go, updateRegionForBucket).
func (d *direct) moved(err error) bool {
	answer, is := errors.AsType[*smithyhttp.ResponseError](err)
	if !is || answer.Response == nil {
		return false
	}
	region := answer.Response.Header.Get("X-Amz-Bucket-Region")
	options := d.client.Load().Options()
	if region == "" || region == options.Region {
		return false
	}
	options.Region = region
	d.region.Store(&region)
	d.client.Store(s3.New(options))
	return true
}

// on tells whether a boolean option is set.
func on(options map[string]string, name string) bool {
	value, err := strconv.ParseBool(options[name])
	return err == nil && value
}

func (d *direct) close() { d.http.CloseIdleConnections() }
