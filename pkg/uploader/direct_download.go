package uploader

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// open reads length bytes from offset of the object at key, which has to have size
// bytes, with one request. rclone would ask for the object before each range.
// Whoever reads ends ctx when nothing comes.
func (d *direct) open(ctx context.Context, key string, offset, length, size int64) (io.ReadCloser, error) {
	input := &s3.GetObjectInput{
		Bucket: &d.bucket, Key: aws.String(d.root + key), RequestPayer: d.payer(),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)),
	}
	output, err := d.client.Load().GetObject(ctx, input)
	if d.moved(err) {
		output, err = d.client.Load().GetObject(ctx, input)
	}
	switch {
	case isStatus(err, http.StatusNotFound):
		return nil, fmt.Errorf("%s: %w: %w", key, backup.ErrNotFound, err)
	case isStatus(err, http.StatusRequestedRangeNotSatisfiable):
		return nil, fmt.Errorf("%w: the object has no byte %d, expected %d bytes: %w", backup.ErrCorrupt, offset, size, err)
	case err != nil:
		return nil, err
	}
	// "bytes 0-99/1234"
	_, total, _ := strings.Cut(aws.ToString(output.ContentRange), "/")
	if n, err := strconv.ParseInt(total, 10, 64); err == nil && n != size {
		return nil, closing(output.Body, fmt.Errorf("%w: the object has %d bytes, expected %d", backup.ErrCorrupt, n, size))
	}
	if got := output.ContentLength; got != nil && *got != length {
		// Something on the way may have answered in the store's place.
		return nil, closing(output.Body, fmt.Errorf("the store answered with %d bytes of %s, expected %d: %w", *got, key, length, io.ErrUnexpectedEOF))
	}
	return output.Body, nil
}

// closing closes body and returns err.
func closing(body io.Closer, err error) error {
	_ = body.Close() // nobody reads it
	return err
}
