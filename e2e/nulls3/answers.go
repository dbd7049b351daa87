package nulls3

import (
	"encoding/xml"
	"net/http"
	"time"
)

type initiateMultipartUploadResult struct {
	XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

type completeMultipartUpload struct {
	Parts []struct {
		PartNumber int
		ETag       string
	} `xml:"Part"`
}

type completeMultipartUploadResult struct {
	XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
	Bucket  string
	Key     string
	ETag    string
}

type listBucketResult struct {
	XMLName        xml.Name `xml:"ListBucketResult"`
	Name           string
	Prefix         string
	Delimiter      string `xml:",omitempty"`
	MaxKeys        int
	KeyCount       int
	IsTruncated    bool
	Contents       []content
	CommonPrefixes []commonPrefix
}

type content struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
	StorageClass string `xml:",omitempty"`
}

type commonPrefix struct{ Prefix string }

type listMultipartUploadsResult struct {
	XMLName     xml.Name `xml:"ListMultipartUploadsResult"`
	Bucket      string
	Prefix      string
	MaxUploads  int
	IsTruncated bool
	Uploads     []openUpload `xml:"Upload"`
}

type openUpload struct {
	Key       string
	UploadID  string `xml:"UploadId"`
	Initiated time.Time
}

func answer(w http.ResponseWriter, result any) *fault {
	text, err := xml.Marshal(result)
	if err != nil {
		return &fault{http.StatusInternalServerError, "InternalError"}
	}
	w.Header().Set("Content-Type", "application/xml")
	// A client that has gone away does not need the answer.
	_, _ = w.Write(append([]byte(xml.Header), text...))
	return nil
}
