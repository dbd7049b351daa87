package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The results stand between these lines of the document.
const (
	beginMark = "<!-- results of make bench -->"
	endMark   = "<!-- end of the results -->"
)

// text is a result as Markdown. What the data path takes of the memory goes into
// one table, of which last is the row before, if any.
func (r *result) text(last bool) string {
	var out strings.Builder
	if r.scenario.memory {
		r.memory(&out, last)
		return out.String()
	}
	fmt.Fprintf(&out, "\n**%s**, %.4g GiB, load %s before:\n\n", r.scenario.name(), float64(r.bytes)/(1<<30), r.load)
	base := baseline(r.scenario.direction)
	fmt.Fprintf(&out, "| client | MiB/s (min–max) | × %s | CPU s/GiB (min–max) | × %s | peak MiB |\n|---|---|---|---|---|---|\n", base, base)
	for n := range r.rows {
		row := &r.rows[n]
		fmt.Fprintf(&out, "| %s | %.0f (%.0f–%.0f) | %s | %.2f (%.2f–%.2f) | %s | %.0f |\n", row.client,
			row.throughput.median, row.throughput.least, row.throughput.most, row.faster.ratio(),
			row.cpu.median, row.cpu.least, row.cpu.most, row.cheaper.ratio(), row.peak.median)
	}
	return out.String()
}

// ratio is empty where the baseline was not measured.
func (s spread) ratio() string {
	if s.most == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", s.median)
}

// memory is what the data path took beside what is documented.
func (r *result) memory(out *strings.Builder, last bool) {
	if !last {
		out.WriteString("\n**memory**, with a store that takes 2 s for each request, so that all buffers are needed, but for the longest:\n\n" +
			"| client | streams | GiB | peak MiB | documented MiB | peak / documented |\n|---|---|---|---|---|---|\n")
	}
	for n := range r.rows {
		row, expected := &r.rows[n], documented(r.scenario.streams)
		fmt.Fprintf(out, "| %s | %d | %.4g | %.0f | %.0f | %.2f |\n", row.client, r.scenario.streams,
			float64(r.bytes)/(1<<30), row.peak.median, expected, row.peak.median/expected)
	}
}

// documented is what the data path takes by the package comment of pkg/uploader
// with its default settings, in MiB: 17 buffers of 8 MiB for each stream while the
// budget has room, and the program.
func documented(streams int) float64 {
	const budget, buffers, part, program = 512, 17, 8, 48
	return min(budget, float64(streams*buffers*part)) + program
}

// update puts the results into the document and plots them beside it.
func (b *bench) update(ctx context.Context, results []*result) error {
	text, err := os.ReadFile(b.document)
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	drawing := strings.TrimSuffix(b.document, filepath.Ext(b.document)) + ".svg"
	var body strings.Builder
	fmt.Fprintf(&body, "\n%s\n![throughput and CPU time of the clients](%s)\n", b.conditions(ctx), filepath.Base(drawing))
	for n, r := range results {
		body.WriteString(r.text(n > 0 && results[n-1].scenario.memory))
	}
	body.WriteByte('\n')
	if text, err = between(text, body.String()); err != nil {
		return fmt.Errorf("update %s: %w", b.document, err)
	}
	plot, err := draw(results)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if err := os.WriteFile(drawing, plot, 0o644); err != nil { //nolint:gosec // a document that everybody may read
		return err
	}
	return os.WriteFile(b.document, text, 0o644) //nolint:gosec // as above
}

// between replaces what stands between the marks of text by body.
func between(text []byte, body string) ([]byte, error) {
	before, rest, begins := bytes.Cut(text, []byte(beginMark+"\n"))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return nil, fmt.Errorf("it has no line %q with %q after it", beginMark, endMark)
	}
	return fmt.Appendf(nil, "%s%s\n%s%s%s", before, beginMark, body, endMark, after), nil
}

// conditions say what everything was measured with.
func (b *bench) conditions(ctx context.Context) string {
	aws := "the AWS command line was not installed"
	if b.aws != "" {
		aws, _, _ = strings.Cut(output(ctx, b.aws, "--version"), " ")
	}
	kernel, _, _ := strings.Cut(firstWord("/proc/sys/kernel/osrelease"), "-")
	// The last commit that changed what is measured.
	commit := output(ctx, "git", "log", "-1", "--format=%h", "--", "cmd", "internal", "pkg")
	return fmt.Sprintf("%s, commit %s; %d cores (%s), Linux %s, %s, %s, %s; %d runs after a warm-up.\n", time.Now().UTC().Format("2 January 2006"),
		commit, runtime.NumCPU(), processor(), kernel,
		runtime.Version(), output(ctx, b.program("rclone"), "--version"), aws, b.runs)
}

// output is the first line that a program prints, or why there is none.
func output(ctx context.Context, program string, args ...string) string {
	text, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "(" + err.Error() + ")"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// firstWord is that of a file, or why there is none.
func firstWord(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return word
}

// processor is the name that the kernel gives the first one.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "(" + err.Error() + ")"
	}
	_, rest, _ := strings.Cut(string(text), "model name")
	_, rest, _ = strings.Cut(rest, ":")
	name, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(name)
}
