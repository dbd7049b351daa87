package main

import (
	"fmt"
	"strings"
)

// text is a result as a table in Markdown.
func (r result) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n**%s**, %.2f GiB:\n\n", r.scenario.name(), float64(r.bytes)/(1<<30))
	base := baseline(r.scenario.direction)
	fmt.Fprintf(&out, "| client | MiB/s (min–max) | × %s | CPU s/GiB (min–max) | × %s | peak MiB |\n|---|---|---|---|---|---|\n", base, base)
	for n := range r.rows {
		row := &r.rows[n]
		fmt.Fprintf(&out, "| %s | %.0f (%.0f–%.0f) | %.2f | %.2f (%.2f–%.2f) | %.2f | %.0f |\n", row.client,
			row.throughput.median, row.throughput.least, row.throughput.most, row.faster.median,
			row.cpu.median, row.cpu.least, row.cpu.most, row.cheaper.median, row.peak.median)
	}
	return out.String()
}
