package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Where there is no terminal, a line of progress follows the one before after
// a tenth of the time that has passed, within these limits, or after a tenth of
// the bytes: often in a short job, and without filling the log of a long one.
const (
	minLineInterval = 2 * time.Second
	maxLineInterval = time.Minute
	// stillInterval is how long nothing may move before a line says so.
	stillInterval = 10 * time.Second
)

// progress shows on standard error how far a job is: bars on a terminal, lines
// elsewhere, nothing but an operator's command with -o json.
type progress struct {
	app      *app
	bars     *mpb.Progress // nil without a terminal
	byID     map[backup.StreamID]*mpb.Bar
	begun    time.Time
	stage    job.Stage
	tenth    int64
	stalled  string
	moved    int64 // bytes, and
	movedAt  time.Time
	lastLine time.Time
	command  string
}

func (a *app) newProgress(r job.Record) *progress {
	p := &progress{app: a, begun: time.Now(), byID: make(map[backup.StreamID]*mpb.Bar)}
	if a.output == "text" {
		p.say(fmt.Sprintf("%s of %s: job %s", r.Action, r.Database, r.ID))
		if a.terminal() {
			p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithAutoRefresh())
		}
	}
	return p
}

// show takes a record as it comes.
func (p *progress) show(r job.Record) {
	if r.Command != "" && r.Command != p.command {
		p.command = r.Command
		p.sayCommand()
	}
	if p.app.output == "json" {
		return
	}
	if p.bars == nil {
		p.line(r)
		return
	}
	for i := range r.Streams {
		p.bar(&r.Streams[i])
	}
	if stalled := stalledText(&r); stalled != p.stalled {
		p.stalled = stalled
		p.say(cmp.Or(stalled, "all streams move again"))
	}
}

// stillText says for how long nothing has moved, and who is waited for.
func (p *progress) stillText(r *job.Record, now time.Time) string {
	var moved int64
	waiting := ""
	for i := range r.Streams {
		s := &r.Streams[i]
		moved += s.Bytes + s.Stored
		if !s.Done && s.WaitingFor != "" {
			waiting = string(s.WaitingFor)
		}
	}
	if moved != p.moved || p.movedAt.IsZero() {
		p.moved, p.movedAt = moved, now
	}
	still := now.Sub(p.movedAt)
	if still < stillInterval || waiting == "" {
		return ""
	}
	return fmt.Sprintf("; nothing has moved for %s, waiting for %s", still.Round(time.Second), waiting)
}

// stalledText names what does not move, and what the store says meanwhile.
func stalledText(r *job.Record) string {
	var texts []string
	for i := range r.Streams {
		s := &r.Streams[i]
		if s.Stalled {
			texts = append(texts, fmt.Sprintf("stream %s is stalled, waiting for %s", s.String(), s.WaitingFor))
		}
		if s.StoreError != "" {
			texts = append(texts, fmt.Sprintf("stream %s: %s", s.String(), askedAgainText(s)))
		}
	}
	return strings.Join(texts, "; ")
}

// askedAgainText says how long the store is asked again. It is the same for the
// whole outage, so that progress tells it once.
func askedAgainText(s *job.Progress) string {
	text := "the store fails and is asked again"
	if !s.StoreErrorSince.IsZero() {
		text += ", since " + s.StoreErrorSince.UTC().Format(time.TimeOnly) + " UTC"
	}
	if !s.StoreErrorUntil.IsZero() {
		text += " until about " + s.StoreErrorUntil.UTC().Format(time.TimeOnly) + " (store.outageTolerance)"
	}
	return text
}

func (p *progress) bar(s *job.Progress) {
	bar, known := p.byID[s.StreamID]
	if !known {
		bar = p.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(s.String()+" "+s.Service, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), "  % .1f")))
		p.byID[s.StreamID] = bar
	}
	bar.SetTotal(max(s.EstimatedSize, s.Bytes, 1), false)
	bar.SetCurrent(s.Bytes)
	if s.Done {
		bar.SetTotal(s.Bytes, true)
	}
}

// line writes one at every new stage, then from time to time.
func (p *progress) line(r job.Record) {
	var bytes, estimate, tenth int64
	for i := range r.Streams {
		bytes += r.Streams[i].Bytes
		estimate += max(r.Streams[i].EstimatedSize, r.Streams[i].Bytes)
	}
	text := string(r.Stage)
	if estimate > 0 {
		tenth = bytes / max(estimate/10, 1)
		text += fmt.Sprintf(": %s of about %s in %s", byteText(bytes), byteText(estimate), countText(len(r.Streams), "stream"))
	}
	stalled := stalledText(&r)
	if stalled != "" {
		text += "; " + stalled
	}
	now := time.Now()
	text += p.stillText(&r, now)
	pause := min(max(now.Sub(p.begun)/10, minLineInterval), maxLineInterval)
	if r.Stage == p.stage && tenth <= p.tenth && stalled == p.stalled && now.Sub(p.lastLine) < pause {
		return
	}
	p.stage, p.tenth, p.stalled, p.lastLine = r.Stage, tenth, stalled, now
	p.say(text)
}

// lost tells that the daemon does not answer.
func (p *progress) lost(err error, until time.Time) {
	text := fmt.Sprintf("lost contact with the daemon (%v), trying again until %s", err, until.Format(time.TimeOnly))
	if p.bars == nil {
		p.app.warn(text)
		return
	}
	p.say(text)
}

// say writes a line, above the bars if there are any.
func (p *progress) say(text string) {
	w := p.app.stderr
	if p.bars != nil {
		w = p.bars
	}
	// Progress that nobody can see does not stop a backup.
	_, _ = fmt.Fprintln(w, text)
}

// end leaves the bars as they are.
func (p *progress) end() {
	if p.bars == nil {
		return
	}
	for _, bar := range p.byID {
		bar.Abort(false)
	}
	p.bars.Wait()
}

// sayCommand makes sure that the operator sees what to do now.
func (p *progress) sayCommand() {
	if p.app.output == "json" {
		_ = json.NewEncoder(p.app.stderr).Encode(map[string]string{"command": p.command})
		return
	}
	const line = "================================================================================"
	p.say("\n" + line + `
SYSTEMDB cannot be recovered from outside. Run this now, as <sid>adm in HANA's
container, while pipestreamer serves the streams:

  ` + p.command + "\n" + line + "\n")
}

// byteText writes a number of bytes for people.
func byteText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), -1
	for value >= 1024 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[unit])
}
