package uploader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// errNoETag passes: proxies under load were seen to answer 200 and nothing else
// (rclone issue 9822).
var errNoETag = errors.New("the store has taken a part without naming its ETag")

// directUpload is a multipart upload that rclone knows nothing of. It implements
// sender.
type directUpload struct {
	*direct
	key, id     string
	conditional bool

	mu    sync.Mutex
	parts map[int32]string // ETags by part number
}

// create starts a multipart upload.
func (d *direct) create(ctx context.Context, key, mark string, conditional bool) (*directUpload, error) {
	key = d.root + key
	input := &s3.CreateMultipartUploadInput{
		Bucket: &d.bucket, Key: &key,
		ContentType:          aws.String("application/octet-stream"),
		Metadata:             map[string]string{markName: mark},
		ACL:                  types.ObjectCannedACL(d.options["acl"]),
		StorageClass:         types.StorageClass(d.options["storage_class"]),
		ServerSideEncryption: types.ServerSideEncryption(d.options["server_side_encryption"]),
		RequestPayer:         d.payer(),
	}
	if id := d.options["sse_kms_key_id"]; id != "" {
		input.SSEKMSKeyId = &id
	}
	output, err := d.client.Load().CreateMultipartUpload(ctx, input)
	if err != nil {
		return nil, err
	}
	if aws.ToString(output.UploadId) == "" {
		return nil, fmt.Errorf("the store has named no upload id: %w", io.ErrUnexpectedEOF)
	}
	return &directUpload{direct: d, key: key, id: *output.UploadId, conditional: conditional, parts: map[int32]string{}}, nil
}

func (d *direct) payer() types.RequestPayer {
	if on(d.options, "requester_pays") {
		return types.RequestPayerRequester
	}
	return ""
}

// send implements sender. The request is signed with the SHA-256 of the part,
// which the store compares with what has arrived.
func (u *directUpload) send(ctx context.Context, p *part, body io.ReadSeeker) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	number := int32(p.number + 1) //nolint:gosec // at most 10,000
	output, err := u.client.Load().UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: &u.id, PartNumber: &number,
		Body: body, ContentLength: aws.Int64(int64(len(p.data))), RequestPayer: u.payer(),
	}, func(o *s3.Options) {
		o.APIOptions = append(slices.Clip(o.APIOptions), func(stack *middleware.Stack) error {
			return stack.Initialize.Add(knownHash(p.sum), middleware.Before)
		})
	})
	if err != nil {
		return err
	}
	if aws.ToString(output.ETag) == "" {
		return errNoETag
	}
	u.mu.Lock()
	u.parts[number] = *output.ETag
	u.mu.Unlock()
	return nil
}

// knownHash spares the SDK a SHA-256 that was made already.
func knownHash(sum string) middleware.InitializeMiddleware {
	return middleware.InitializeMiddlewareFunc("KnownHash",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, sum), in)
		})
}

// complete implements sender.
func (u *directUpload) complete(ctx context.Context) error {
	u.mu.Lock()
	parts := make([]types.CompletedPart, 0, len(u.parts))
	for number, tag := range u.parts {
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(number), ETag: &tag})
	}
	u.mu.Unlock()
	slices.SortFunc(parts, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	input := &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: &u.id, RequestPayer: u.payer(),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	if u.conditional {
		input.IfNoneMatch = aws.String("*")
	}
	_, err := u.client.Load().CompleteMultipartUpload(ctx, input)
	return err
}

// abort implements sender.
func (u *directUpload) abort(ctx context.Context) error {
	_, err := u.client.Load().AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: &u.id, RequestPayer: u.payer(),
	})
	return err
}
