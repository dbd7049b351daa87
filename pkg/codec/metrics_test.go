package codec_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// TestMetrics compares the counters with what went in and what is stored.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p, keys := newPlace(t), newPair(t)
	registry := prometheus.NewRegistry()
	store := p.with(t, codec.Config{
		Compression: "fastest", Recipients: []string{keys.recipient}, IdentityFile: keys.file, Metrics: codec.NewMetrics(registry),
	})
	data := table(3<<20 + 17)
	stored := put(t, store, data, backup.UploadOptions{})
	if back, err := get(t, store, stored); err != nil || !bytes.Equal(back, data) {
		t.Fatalf("%d bytes came back, %v", len(back), err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			got[family.GetName()+" "+metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
		}
	}
	size := float64(len(p.bytesOf(t, stored.Objects)))
	if size >= float64(len(data))/2 {
		t.Errorf("%v bytes are stored of %d", size, len(data))
	}
	want := map[string]float64{
		"pipestreamer_codec_plain_bytes_total encode": float64(len(data)), "pipestreamer_codec_stored_bytes_total encode": size,
		"pipestreamer_codec_plain_bytes_total decode": float64(len(data)), "pipestreamer_codec_stored_bytes_total decode": size,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
