package nulls3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fault is an answer of S3 that is not a success.
type fault struct {
	status int
	code   string
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.options.Delay != nil {
		s.options.Delay(r)
	}
	f := s.route(w, r)
	if f == nil {
		return
	}
	s.refused.Add(1)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		// A client that has gone away does not need the reason.
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", f.code, f.code)
	}
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) *fault {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	name := bucket + "/" + key
	switch {
	case bucket == "":
		return &fault{http.StatusNotImplemented, "NotImplemented"}
	case key == "":
		return s.bucket(w, r, bucket)
	case r.Method == http.MethodPost && query.Has("uploads"):
		return s.create(w, r, bucket, key)
	case query.Has("uploadId"):
		return s.multipart(w, r, name, query.Get("uploadId"))
	case r.Method == http.MethodPut:
		return s.put(w, r, name)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return s.get(w, r, name)
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.objects, name)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &fault{http.StatusNotImplemented, "NotImplemented"}
}

func (s *Server) bucket(w http.ResponseWriter, r *http.Request, bucket string) *fault {
	switch query := r.URL.Query(); {
	case r.Method == http.MethodHead, r.Method == http.MethodPut:
		return nil
	case r.Method == http.MethodGet && query.Has("uploads"):
		return answer(w, s.listUploads(bucket, query.Get("prefix")))
	case r.Method == http.MethodGet:
		return answer(w, s.list(bucket, query.Get("prefix"), query.Get("delimiter")))
	}
	return &fault{http.StatusNotImplemented, "NotImplemented"}
}

func (s *Server) create(w http.ResponseWriter, r *http.Request, bucket, key string) *fault {
	s.mu.Lock()
	s.next++
	id := strconv.Itoa(s.next)
	s.uploads[id] = &upload{key: bucket + "/" + key, since: time.Now().UTC(), metadata: metadata(r), parts: make(map[int]part)}
	s.mu.Unlock()
	if algorithm := r.Header.Get("X-Amz-Checksum-Algorithm"); algorithm != "" {
		w.Header().Set("X-Amz-Checksum-Algorithm", algorithm) // and nothing is compared
	}
	return answer(w, initiateMultipartUploadResult{Bucket: bucket, Key: key, UploadID: id})
}

func (s *Server) multipart(w http.ResponseWriter, r *http.Request, name, id string) *fault {
	s.mu.Lock()
	u, known := s.uploads[id]
	s.mu.Unlock()
	if !known || u.key != name {
		return &fault{http.StatusNotFound, "NoSuchUpload"}
	}
	switch r.Method {
	case http.MethodPut:
		return s.uploadPart(w, r, u)
	case http.MethodPost:
		return s.complete(w, r, u, id)
	case http.MethodDelete:
		s.mu.Lock()
		delete(s.uploads, id)
		s.mu.Unlock()
		s.aborted.Add(1)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &fault{http.StatusNotImplemented, "NotImplemented"}
}

func (s *Server) uploadPart(w http.ResponseWriter, r *http.Request, u *upload) *fault {
	number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
	if err != nil || number < 1 || number > s.options.MaxParts {
		return &fault{http.StatusBadRequest, "InvalidArgument"}
	}
	p, f := s.receive(r)
	if f != nil {
		return f
	}
	s.mu.Lock()
	u.parts[number] = p
	s.mu.Unlock()
	w.Header().Set("ETag", p.etag())
	return nil
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, name string) *fault {
	if r.Header.Get("X-Amz-Copy-Source") != "" {
		return &fault{http.StatusNotImplemented, "NotImplemented"}
	}
	p, f := s.receive(r)
	if f != nil {
		return f
	}
	w.Header().Set("ETag", p.etag())
	return s.store(r, name, stored{sizes: []int64{p.size}, content: p.content, etag: p.etag(), metadata: metadata(r), time: time.Now().UTC()})
}

// receive takes a body and keeps it if it is small.
func (s *Server) receive(r *http.Request) (part, *fault) {
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return part{}, &fault{http.StatusNotImplemented, "NotImplemented"} // chunks in chunks
	}
	// The sum is the client's word: computing it would cost more than all else.
	sum, err := base64.StdEncoding.DecodeString(r.Header.Get("Content-Md5"))
	if err != nil {
		return part{}, &fault{http.StatusBadRequest, "InvalidDigest"}
	}
	p := part{sum: sum}
	if r.ContentLength >= 0 && r.ContentLength <= KeptSize {
		p.content, err = io.ReadAll(r.Body)
		p.size = int64(len(p.content))
	} else {
		p.size, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil || (r.ContentLength >= 0 && p.size != r.ContentLength) {
		return part{}, &fault{http.StatusBadRequest, "IncompleteBody"}
	}
	if len(sum) == 0 {
		computed := md5.Sum(p.content)
		p.sum = computed[:]
	}
	s.parts.Add(1)
	s.bytes.Add(p.size)
	return p, nil
}

// metadata is what a client wants to be kept with an object.
func metadata(r *http.Request) http.Header {
	kept := make(http.Header)
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			kept[name] = values
		}
	}
	return kept
}

func (p part) etag() string { return `"` + hex.EncodeToString(p.sum) + `"` }

func (s *Server) complete(w http.ResponseWriter, r *http.Request, u *upload, id string) *fault {
	var request completeMultipartUpload
	if err := xml.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Parts) == 0 {
		return &fault{http.StatusBadRequest, "MalformedXML"}
	}
	s.mu.Lock()
	object, f := u.assemble(request)
	s.mu.Unlock()
	if f == nil {
		f = s.store(r, u.key, object)
	}
	if f != nil {
		return f
	}
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	s.completed.Add(1)
	bucket, key, _ := strings.Cut(u.key, "/")
	return answer(w, completeMultipartUploadResult{Bucket: bucket, Key: key, ETag: object.etag})
}

// assemble makes an object of the parts that were asked for.
func (u *upload) assemble(request completeMultipartUpload) (stored, *fault) {
	object := stored{time: time.Now().UTC(), metadata: u.metadata, content: []byte{}}
	sum := md5.New()
	for i, asked := range request.Parts {
		p, known := u.parts[asked.PartNumber]
		switch {
		case !known || strings.Trim(asked.ETag, `"`) != strings.Trim(p.etag(), `"`):
			return stored{}, &fault{http.StatusBadRequest, "InvalidPart"}
		case i > 0 && asked.PartNumber <= request.Parts[i-1].PartNumber:
			return stored{}, &fault{http.StatusBadRequest, "InvalidPartOrder"}
		case i < len(request.Parts)-1 && p.size < minPartSize:
			return stored{}, &fault{http.StatusBadRequest, "EntityTooSmall"}
		}
		object.sizes = append(object.sizes, p.size)
		sum.Write(p.sum)
		if p.content == nil || object.content == nil {
			object.content = nil
			continue
		}
		object.content = append(object.content, p.content...)
	}
	object.etag = fmt.Sprintf(`"%x-%d"`, sum.Sum(nil), len(request.Parts))
	return object, nil
}

func (s *Server) store(r *http.Request, name string, object stored) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.objects[name]; exists && r.Header.Get("If-None-Match") == "*" {
		return &fault{http.StatusPreconditionFailed, "PreconditionFailed"}
	}
	s.objects[name] = object
	return nil
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, name string) *fault {
	s.mu.Lock()
	object, known := s.objects[name]
	s.mu.Unlock()
	if !known {
		return &fault{http.StatusNotFound, "NoSuchKey"}
	}
	maps.Copy(w.Header(), object.metadata)
	w.Header().Set("ETag", object.etag)
	w.Header().Set("Last-Modified", object.time.Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/octet-stream")
	switch {
	case r.Method == http.MethodHead:
		w.Header().Set("Content-Length", strconv.FormatInt(object.size(), 10))
	case object.content != nil:
		http.ServeContent(w, r, "", object.time, bytes.NewReader(object.content))
	case s.options.Content != nil:
		http.ServeContent(w, r, "", object.time, io.NewSectionReader(s.options.Content, 0, object.size()))
	default:
		return &fault{http.StatusGone, "ThrownAway"}
	}
	return nil
}

func (s *Server) list(bucket, prefix, delimiter string) listBucketResult {
	result := listBucketResult{Name: bucket, Prefix: prefix, Delimiter: delimiter, MaxKeys: 1 << 30}
	for _, o := range s.Objects() {
		key, inBucket := strings.CutPrefix(o.Key, bucket+"/")
		rest, matches := strings.CutPrefix(key, prefix)
		if !inBucket || !matches {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			common := commonPrefix{Prefix: prefix + rest[:i+len(delimiter)]}
			if !slices.Contains(result.CommonPrefixes, common) {
				result.CommonPrefixes = append(result.CommonPrefixes, common)
			}
			continue
		}
		s.mu.Lock()
		object := s.objects[o.Key]
		s.mu.Unlock()
		result.Contents = append(result.Contents, content{Key: key, Size: o.Size, ETag: object.etag, LastModified: object.time})
	}
	result.KeyCount = len(result.Contents)
	return result
}

func (s *Server) listUploads(bucket, prefix string) listMultipartUploadsResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := listMultipartUploadsResult{Bucket: bucket, Prefix: prefix, MaxUploads: 1 << 30}
	for id, u := range s.uploads {
		if key, inBucket := strings.CutPrefix(u.key, bucket+"/"); inBucket && strings.HasPrefix(key, prefix) {
			result.Uploads = append(result.Uploads, openUpload{Key: key, UploadID: id, Initiated: u.since})
		}
	}
	slices.SortFunc(result.Uploads, func(a, b openUpload) int { return strings.Compare(a.Key+"\x00"+a.UploadID, b.Key+"\x00"+b.UploadID) })
	return result
}
