package uploader

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
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
	// crc says that the store compares the CRC of each part, and that the request
	// is not signed with its SHA-256: TLS protects it on the way.
	crc bool

	mu    sync.Mutex
	parts map[int32]types.CompletedPart
}

// create starts a multipart upload.
func (d *direct) create(ctx context.Context, key string, u *upload) (*directUpload, error) {
	key = d.root + key
	input := &s3.CreateMultipartUploadInput{
		Bucket: &d.bucket, Key: &key,
		ContentType:          aws.String("application/octet-stream"),
		Metadata:             map[string]string{markName: u.id},
		ACL:                  types.ObjectCannedACL(d.options["acl"]),
		StorageClass:         types.StorageClass(d.options["storage_class"]),
		ServerSideEncryption: types.ServerSideEncryption(d.options["server_side_encryption"]),
		RequestPayer:         d.payer(),
	}
	if id := d.options["sse_kms_key_id"]; id != "" {
		input.SSEKMSKeyId = &id
	}
	crc := d.mayBeUnsigned() && !d.plain.Load()
	if crc {
		input.ChecksumAlgorithm = types.ChecksumAlgorithmCrc64nvme
	}
	output, err := d.initiate(ctx, input)
	if crc && (isStatus(err, http.StatusBadRequest) || isStatus(err, http.StatusNotImplemented)) {
		input.ChecksumAlgorithm = ""
		output, err = d.initiate(ctx, input)
	}
	if err != nil {
		return nil, err
	}
	if crc && output.ChecksumAlgorithm != types.ChecksumAlgorithmCrc64nvme {
		// It does not know the checksum, or has passed over it.
		crc = false
		if !d.plain.Swap(true) {
			u.store.log.Info("the store does not compare a CRC-64/NVME: parts are signed with their SHA-256 instead")
		}
	}
	if aws.ToString(output.UploadId) == "" {
		return nil, fmt.Errorf("the store has named no upload id: %w", io.ErrUnexpectedEOF)
	}
	return &directUpload{
		direct: d, key: key, id: *output.UploadId, conditional: u.conditional, crc: crc, parts: map[int32]types.CompletedPart{},
	}, nil
}

// initiate asks once more where the bucket is in another region.
func (d *direct) initiate(ctx context.Context, input *s3.CreateMultipartUploadInput) (*s3.CreateMultipartUploadOutput, error) {
	output, err := d.client.Load().CreateMultipartUpload(ctx, input)
	if d.moved(err) {
		output, err = d.client.Load().CreateMultipartUpload(ctx, input)
	}
	return output, err
}

func (d *direct) payer() types.RequestPayer {
	if on(d.options, "requester_pays") {
		return types.RequestPayerRequester
	}
	return ""
}

// send implements sender. The store compares what has arrived with the SHA-256 by
// which the request is signed, or with the CRC.
func (u *directUpload) send(ctx context.Context, p *part, body io.ReadSeeker) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	number := int32(p.number + 1) //nolint:gosec // at most 10,000
	input := &s3.UploadPartInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: &u.id, PartNumber: &number,
		Body: body, ContentLength: aws.Int64(int64(len(p.data))), RequestPayer: u.payer(),
	}
	hash := p.sum
	if u.crc {
		hash = "UNSIGNED-PAYLOAD"
		input.ChecksumCRC64NVME = aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, p.crc)))
	}
	output, err := u.client.Load().UploadPart(ctx, input, knownHash(hash))
	if err != nil {
		return err
	}
	if aws.ToString(output.ETag) == "" {
		return errNoETag
	}
	u.mu.Lock()
	u.parts[number] = types.CompletedPart{PartNumber: &number, ETag: output.ETag, ChecksumCRC64NVME: input.ChecksumCRC64NVME}
	u.mu.Unlock()
	return nil
}

// signs implements sender.
func (u *directUpload) signs() bool { return !u.crc }

// knownHash spares the SDK a SHA-256 that was made already.
func knownHash(sum string) func(*s3.Options) {
	set := middleware.InitializeMiddlewareFunc("KnownHash",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, sum), in)
		})
	return func(o *s3.Options) {
		o.APIOptions = append(slices.Clip(o.APIOptions), func(stack *middleware.Stack) error {
			return stack.Initialize.Add(set, middleware.Before)
		})
	}
}

// complete implements sender.
func (u *directUpload) complete(ctx context.Context) error {
	u.mu.Lock()
	parts := slices.SortedFunc(maps.Values(u.parts), func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	u.mu.Unlock()
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
