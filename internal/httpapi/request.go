package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// maxBody bounds a request's body in bytes.
	maxBody = 64 << 10
	// maxIdempotencyKey bounds the header of that name.
	maxIdempotencyKey = 128
)

// readBody reads one JSON object into the targets, by exact field name. It
// refuses what encoding/json lets pass: other spellings, fields that stand
// twice, null, text after the object.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, targets map[string]any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "Unsupported media type",
			"expected Content-Type: application/json")
	}
	text, err := s.readText(w, r)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return invalid("", "expected a JSON object")
	}
	seen := make(map[string]bool, len(targets))
	for decoder.More() {
		if err := readField(decoder, targets, seen); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return invalid("", "expected '}' at the end of the JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return invalid("", "expected nothing after the JSON object")
	}
	return nil
}

// limitBody bounds the time in which a body may arrive, also one that nobody
// reads: net/http waits for its end before the connection is used again.
func (s *Server) limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.options.BodyTimeout)); err != nil {
		s.log.Warn("a body has no deadline", zap.Error(err))
	}
}

func (s *Server) readText(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// net/http lifts the deadline when the body has ended (connReader's
	// startBackgroundRead), so it does not cut the handler short.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.options.BodyTimeout)); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge, is := errors.AsType[*http.MaxBytesError](err); is {
		p := newProblem(http.StatusRequestEntityTooLarge, "too_large", "The body is too large", tooLarge.Error())
		p.Hint = "expected at most 64 KiB"
		return nil, p
	}
	if err != nil {
		return nil, invalid("", "the body could not be read: "+err.Error())
	}
	return text, nil
}

func readField(decoder *json.Decoder, targets map[string]any, seen map[string]bool) error {
	token, err := decoder.Token()
	name, isName := token.(string)
	if err != nil || !isName {
		return invalid("", "the JSON object is malformed")
	}
	target, known := targets[name]
	if !known {
		return invalid(name, "unknown field; known are "+strings.Join(slices.Sorted(maps.Keys(targets)), ", "))
	}
	if seen[name] {
		return invalid(name, "this field stands twice")
	}
	seen[name] = true
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return invalid(name, "its value is not JSON")
	}
	if string(value) == "null" {
		return invalid(name, "expected a value, not null")
	}
	if err := json.Unmarshal(value, target); err != nil {
		if wrong, is := errors.AsType[*json.UnmarshalTypeError](err); is {
			return invalid(name, "expected a "+wrong.Type.Kind().String()+", got a "+wrong.Value)
		}
		return invalid(name, err.Error())
	}
	return nil
}

// idempotencyKey reads the header of that name: 1 to 128 printable ASCII
// characters, or absent.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	printable := strings.IndexFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) < 0
	if len(values) > 1 || key == "" || len(key) > maxIdempotencyKey || !printable {
		return "", invalid("Idempotency-Key", "expected one header of 1 to 128 printable ASCII characters")
	}
	return key, nil
}
