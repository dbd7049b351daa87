package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// awaitAnswer waits until HANA has ended the backup or the streams are stopped;
// it reports whether HANA has. HANA's error stops the streams. An answer that got
// lost, or that does not come although all streams have ended, is looked up in
// the catalog.
func (r *backupRun) awaitAnswer(streaming context.Context, stop context.CancelCauseFunc, answer <-chan error) bool {
	late := time.NewTimer(r.config.AnswerTimeout)
	defer late.Stop()
	for silent := false; !silent; {
		running, changed := r.flow.look()
		var over <-chan time.Time
		if running == 0 {
			late.Reset(r.config.AnswerTimeout)
			over = late.C
		}
		select {
		case <-streaming.Done():
			return false
		case err := <-answer:
			return r.hear(streaming, stop, err)
		case <-changed:
		case <-over:
			silent = true
		}
	}
	silence := fmt.Errorf("HANA has not answered within %s after its last stream ended", r.config.AnswerTimeout)
	r.log.Warn("the catalog is asked instead", zap.Error(silence))
	r.job.note(SideHANA, "does not answer, its catalog is asked: %v", silence)
	return r.consult(streaming, stop, silence)
}

// hear takes HANA's answer. It reports false when it is not known whether HANA
// has ended.
func (r *backupRun) hear(streaming context.Context, stop context.CancelCauseFunc, answer error) bool {
	switch {
	case answer == nil:
		r.believe()
		return true
	case isFinal(answer):
		r.fail(stop, newError(StageTrigger, CodeHANA, answer))
		return true
	}
	r.mu.Lock()
	r.deaf = true
	r.mu.Unlock()
	r.log.Warn("HANA's answer got lost; its catalog is asked instead", zap.Error(answer))
	r.job.note(SideHANA, "its answer got lost, its catalog is asked: %v", answer)
	return r.consult(streaming, stop, answer)
}

// isFinal says whether an error is HANA's last word on a statement that changes
// something. That it refuses to answer a question says nothing about that.
func isFinal(answer error) bool {
	if hana, refused := errors.AsType[*backup.HANAError](answer); refused {
		return !hdbtrigger.IsQuery(hana)
	}
	return errors.Is(answer, backup.ErrNotSent)
}

// believe notes that HANA has reported success.
func (r *backupRun) believe() {
	r.job.note(SideHANA, "says that the backup is done")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered = true
}

// consult asks the catalog instead of HANA. It reports whether that has ended.
func (r *backupRun) consult(streaming context.Context, stop context.CancelCauseFunc, missing error) bool {
	err := r.askCatalog(streaming, missing)
	if err == nil {
		return true
	}
	r.fail(stop, err)
	return err.Code == CodeCatalog
}

// cancelInHANA ends a backup that has failed on our side; what it answers is a
// consequence. Streams that had begun are closed by now, so that HANA gets EPIPE
// instead of blocking. The pipes of the others stand until HANA has ended, or
// for AnswerTimeout: a file that HANA opens where no pipe is any more becomes a
// regular one and may fill the volume. Whoever writes to them gets EPIPE, too.
func (r *backupRun) cancelInHANA(ctx context.Context, answer <-chan error, abandon context.CancelFunc) {
	clean, cancel := cleanContext(ctx, r.config.AnswerTimeout)
	defer cancel()
	refusing, relent := context.WithCancel(clean)
	var late sync.WaitGroup
	for _, t := range r.transfers() {
		late.Go(func() { t.refuse(refusing, r.source) })
	}
	defer late.Wait()
	defer relent()
	r.job.note(SideDaemon, "asks HANA to cancel the backup")
	late.Go(func() {
		r.keepCancelling(refusing, r.plan, func(err error) {
			r.log.Warn("HANA could not be asked to cancel the backup", zap.Error(err))
			r.job.note(SideHANA, "could not be asked to cancel: %v", err)
		})
	})
	err := r.lastWord(clean, answer, abandon)
	if err == nil {
		r.believe()
		return
	}
	r.job.note(SideHANA, "says at last: %v", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, newError(StageTrigger, CodeAnswerUnknown, err))
}

// keepCancelling asks HANA to cancel the backup of plan until ctx ends: its
// entry may appear in the catalog after the first time, and a question may get
// lost. Trigger.Cancel sends nothing when nothing runs. failed is told the first
// error.
func (c *Conductor) keepCancelling(ctx context.Context, plan backup.Plan, failed func(error)) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	told := false
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, cancelPause) {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		attempt, cancel := context.WithTimeout(ctx, c.config.AnswerTimeout)
		err := c.parts.Trigger.Cancel(attempt, plan)
		cancel()
		if err != nil && ctx.Err() == nil && !told {
			told = true
			failed(err)
		}
		pause.Reset(wait)
	}
}

// cancelPause is the longest time between two attempts to cancel a backup.
const cancelPause = 10 * time.Second

// lastWord waits until HANA has ended a backup that was cancelled: for its
// answer or, when that got lost, for its catalog. nil is success. When ctx ends
// before, HANA is let go of.
func (r *backupRun) lastWord(ctx context.Context, answer <-chan error, abandon context.CancelFunc) error {
	r.mu.Lock()
	lost := r.deaf
	r.mu.Unlock()
	var err error
	if !lost {
		select {
		case err = <-answer:
			if err == nil || isFinal(err) {
				return err
			}
		case <-ctx.Done():
			r.closeSource()
			abandon()
			if err = <-answer; err != nil {
				err = fmt.Errorf("HANA gave no answer within %s: %w", r.config.AnswerTimeout, err)
			}
			return err
		}
	}
	entry, errCatalog := r.finalEntry(ctx, r.config.AnswerTimeout, nil)
	switch {
	case errCatalog != nil:
		return fmt.Errorf("it is not known whether HANA has ended: %w", errors.Join(err, errCatalog))
	case entry.State == backup.CatalogSuccessful:
		return nil
	default:
		return fmt.Errorf("the catalog calls backup %d %s: %s", entry.BackupID, entry.State, entry.Message)
	}
}
