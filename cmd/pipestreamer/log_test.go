package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

// TestLogLevels keeps the configuration and the logger in step.
func TestLogLevels(t *testing.T) {
	for _, level := range []string{"debug", "info", "warn", "error"} {
		for _, format := range []string{"json", "console"} {
			var buf bytes.Buffer
			log, err := newLogger(config.Log{Level: level, Format: format}, &buf)
			if err != nil {
				t.Fatal(err)
			}
			log.Error("message")
			if isJSON := json.Valid(buf.Bytes()); isJSON != (format == "json") || !strings.Contains(buf.String(), "message") {
				t.Errorf("%s %s: %q", level, format, buf.String())
			}
		}
	}
}
