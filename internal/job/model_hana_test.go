package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// modelHANA is a backup.Trigger. What it does follows from the contract and
// from the schedule, never from what the conductor is known to do.
type modelHANA struct {
	w *modelWorld

	mu   sync.Mutex
	spec *hanaSpec
	runs map[string]*modelRun // job id → what was asked for it
}

// modelRun is one BACKUP DATA in HANA, and all that was ever said about it.
type modelRun struct {
	w    *modelWorld
	spec *hanaSpec
	plan backup.Plan
	id   int64

	canceled chan struct{} // HANA has taken the wish to cancel
	broken   chan struct{} // one service failed, the others stop
	ended    chan struct{}

	mu         sync.Mutex
	sent       int
	cancels    int
	canceledAt time.Time // of the first Cancel
	began      bool
	beganAt    time.Time
	endedAt    time.Time
	truth      string // what HANA will say of it for ever; empty while it runs
	files      []modelFile
	refused    bool     // a pipe refused O_DIRECT
	success    bool     // the answer that reached the caller was success
	told       []string // the states that Entry gave, errors as "-"
	deleted    int64
	stray      int // files that HANA wrote where no pipe stood
}

// modelFile is what HANA wrote into one stream.
type modelFile struct {
	bytes  int64
	sha256 string
}

func (h *modelHANA) heal(spec *hanaSpec) {
	h.mu.Lock()
	h.spec = spec
	runs := h.runs
	h.mu.Unlock()
	for _, r := range runs {
		r.cancel()
	}
}

func (h *modelHANA) run(plan backup.Plan) *modelRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.runs[plan.JobID]
	if r == nil {
		r = &modelRun{
			w: h.w, spec: h.spec, plan: plan, canceled: make(chan struct{}), broken: make(chan struct{}), ended: make(chan struct{}),
			files: make([]modelFile, len(plan.Streams)),
		}
		h.runs[plan.JobID] = r
	}
	return r
}

func (h *modelHANA) now() *hanaSpec {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.spec
}

// busy reports whether HANA backs up a database.
func (h *modelHANA) busy(database string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.runs {
		if r.plan.Database == database && r.running() {
			return true
		}
	}
	return false
}

func (h *modelHANA) Plan(ctx context.Context, database string, kind backup.Kind) (backup.Plan, error) {
	spec := h.now()
	if err := h.w.pause(ctx, spec.planDelay); err != nil {
		return backup.Plan{}, err
	}
	if spec.planErr != nil {
		return backup.Plan{}, spec.planErr
	}
	if h.busy(database) {
		return backup.Plan{}, fmt.Errorf("backup of %s: %w", database, backup.ErrBusy)
	}
	plan := backup.Plan{SID: modelSID, Database: database, Kind: kind, HANAVersion: "2.00.088"}
	if spec.otherSID {
		plan.SID = "ABC"
	}
	for i, size := range h.w.s.sizes {
		plan.Streams = append(plan.Streams, backup.Stream{
			StreamID: backup.StreamID{VolumeID: i, PartID: 1}, Service: "indexserver", Host: "h", EstimatedSize: int64(size),
		})
	}
	return plan, nil
}

func (h *modelHANA) Backup(ctx context.Context, plan backup.Plan) error {
	r := h.run(plan)
	spec := r.spec
	r.mu.Lock()
	r.sent++
	first := r.sent == 1
	r.mu.Unlock()
	if !first {
		return &backup.HANAError{Code: 447, Text: "backup could not be completed", Statement: "BACKUP DATA"}
	}
	// The statement is on its way: whoever stops waiting does not stop it.
	arrived := make(chan struct{})
	h.w.actors.Go(func() {
		h.w.sleep(spec.send)
		if spec.start == startRuns {
			r.begin()
		}
		close(arrived)
		if spec.start == startRuns {
			r.perform()
		}
	})
	select {
	case <-arrived:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-h.w.over:
		return errModelConnection
	}
	switch spec.start {
	case startNotSent:
		return fmt.Errorf("BACKUP DATA: %w: %w", backup.ErrNotSent, errModelRefused)
	case startRefused:
		return &backup.HANAError{Code: 258, Text: "insufficient privilege", Statement: "BACKUP DATA"}
	default:
		return r.await(ctx)
	}
}

// await gives the answer of a running backup as it reaches the caller.
func (r *modelRun) await(ctx context.Context) error {
	switch r.spec.answer {
	case answerNever:
		return r.w.hang(ctx)
	case answerLost:
		if err := r.w.pause(ctx, r.spec.answerDelay); err != nil {
			return err
		}
		return errModelConnection
	default:
	}
	select {
	case <-r.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := r.w.pause(ctx, r.spec.answerDelay); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := r.truth != backup.CatalogSuccessful
	if r.spec.lies {
		failed = false
	}
	if failed && r.refused {
		return &backup.HANAError{
			Code: 447, Inner: []int{2000004, 110507}, Text: "backup could not be completed, [2000004] Cannot open file, rc=22", Statement: "BACKUP DATA",
		}
	}
	if failed || r.spec.complains {
		return &backup.HANAError{
			Code: 447, Inner: []int{2000008, 110507}, Text: "backup could not be completed, [2000008] Backup " + r.truth, Statement: "BACKUP DATA",
		}
	}
	r.success = true
	return nil
}

func (r *modelRun) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.beganAt, r.id = true, time.Now(), time.Now().UnixMilli()
}

// perform writes all files and decides what becomes of the backup.
func (r *modelRun) perform() {
	defer close(r.ended)
	r.w.sleep(r.spec.begin, r.canceled)
	var services sync.WaitGroup
	failed := make([]bool, len(r.plan.Streams))
	for i := range r.plan.Streams {
		services.Go(func() {
			if failed[i] = !r.write(i); failed[i] {
				r.w.sleep(r.spec.spread)
				r.mu.Lock()
				defer r.mu.Unlock()
				if !isClosed(r.broken) {
					close(r.broken)
				}
			}
		})
	}
	services.Wait()
	r.w.sleep(r.spec.finish, r.canceled)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endedAt = time.Now()
	switch {
	case isClosed(r.canceled):
		r.truth = backup.CatalogCanceled
	case isClosed(r.broken), r.spec.failsAtEnd, r.spec.lies:
		r.truth = backup.CatalogFailed
	default:
		r.truth = backup.CatalogSuccessful
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (r *modelRun) running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.began && r.truth == ""
}

// write is one service that writes its file; it reports whether the service
// calls that a success.
func (r *modelRun) write(i int) bool {
	spec, id := r.spec.writers[i], r.plan.Streams[i].StreamID
	if spec.kind == writeNothing {
		return true
	}
	if !r.w.sleep(spec.open, r.canceled, r.broken) {
		return false
	}
	content := r.content(i)
	r.mu.Lock()
	hash := sha256.Sum256(content)
	r.files[i] = modelFile{bytes: int64(len(content)), sha256: hex.EncodeToString(hash[:])}
	r.mu.Unlock()
	if spec.kind == writeDirect {
		r.w.doors.openDirect(r.plan, id)
		r.mu.Lock()
		r.refused = true
		r.mu.Unlock()
		return false
	}
	pipe := r.openPipe(id)
	switch spec.kind {
	case writeEmpty:
		pipe.closeWriter()
		return spec.unnoticed
	case writeDies:
		err := r.send(pipe, content[:len(content)*2/3], &spec)
		pipe.closeWriter()
		return err == nil && spec.unnoticed
	case writeTwice:
		if err := r.send(pipe, content, &spec); err != nil {
			pipe.closeWriter()
			return false
		}
		pipe.closeWriter()
		r.w.sleep(spec.chunk, r.canceled, r.broken)
		pipe = r.openPipe(id)
	default:
	}
	err := r.send(pipe, content, &spec)
	if err == nil && spec.kind == writeNoEnd {
		r.w.actors.Go(func() { // some process has inherited the pipe
			select {
			case <-pipe.gone:
			case <-r.w.over:
			}
			pipe.closeWriter()
		})
		return true
	}
	pipe.closeWriter()
	return err == nil
}

// content is what a service puts into its file. Its catalog row is made from
// what the file should have.
func (r *modelRun) content(i int) []byte {
	spec := r.spec.writers[i]
	header, magic, size := backup.Header{BackupID: r.id, VolumeID: i}, modelMagic, r.w.s.sizes[i]
	switch spec.kind {
	case writeNoHeader:
		magic = "something else"
	case writeOtherID:
		header.BackupID--
	case writeOtherVolume:
		header.VolumeID += 40
	case writeTiny:
		size = 1 + size%60
	case writeShort:
		size -= 1 + size%1000
	case writeLong:
		size += 1 + size%1000
	default:
	}
	return modelBytes(header, magic, size)
}

// send writes content in pieces; HANA's services stop when one of them fails or
// when the backup is cancelled.
func (r *modelRun) send(pipe *modelPipe, content []byte, spec *writerSpec) error {
	piece := len(content)/spec.chunks + 1
	for n := 0; len(content) > 0; n++ {
		pause := spec.chunk
		if spec.kind == writeStalls && n == spec.chunks/2 {
			pause = spec.stall
		}
		if r.plan.Database == modelOther {
			pause += r.spec.otherPause
		}
		if !r.w.sleep(pause, r.canceled, r.broken) {
			return syscall.ECANCELED
		}
		if err := pipe.write(content[:min(piece, len(content))]); err != nil {
			return err
		}
		content = content[min(piece, len(content)):]
	}
	return nil
}

// openPipe opens what stands at the name of a stream; where no pipe is, HANA
// makes a file.
func (r *modelRun) openPipe(id backup.StreamID) *modelPipe {
	pipe := r.w.doors.openForWriting(r.plan, id)
	if pipe.file {
		r.mu.Lock()
		r.stray++
		r.mu.Unlock()
	}
	return pipe
}

func (r *modelRun) cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !isClosed(r.canceled) {
		close(r.canceled)
	}
}

func (h *modelHANA) Cancel(ctx context.Context, plan backup.Plan) error {
	r := h.run(plan)
	r.mu.Lock()
	if r.cancels++; r.cancels == 1 {
		r.canceledAt = time.Now()
	}
	r.mu.Unlock()
	spec := h.now()
	switch {
	case spec.cancelHangs:
		return h.w.hang(ctx)
	case spec.cancelFails:
		return errModelRefused
	}
	if err := h.w.pause(ctx, spec.cancelDelay); err != nil {
		return err
	}
	if r.running() && !spec.cancelIgnored {
		h.w.actors.Go(func() {
			h.w.sleep(spec.cancelTakes)
			r.cancel()
		})
	}
	return nil
}
