package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// recover returns when HANA has recovered or failed. A tenant that was stopped
// but not touched, because serving has ended meanwhile, is started again.
func (r *restoreRun) recover(serving context.Context) error {
	if r.plan.Database == backup.SystemDB {
		return r.awaitReaders(serving)
	}
	if err := r.stop(serving); err != nil {
		return err
	}
	if serving.Err() == nil {
		if err := r.awaitRecovery(serving); err != nil {
			return err
		}
	}
	return r.start(serving)
}

// stop stops the tenant. When it is not known whether HANA has done so, the
// tenant is started again.
func (r *restoreRun) stop(serving context.Context) error {
	if err := r.setStopped(true); err != nil {
		return err // nothing was touched
	}
	r.job.note(SideDaemon, "asks HANA to stop the tenant")
	err := r.outlast(serving, r.parts.Recoverer.Stop, func() {})
	switch {
	case err == nil:
		r.job.note(SideHANA, "has stopped the tenant")
		return nil
	case isFinal(err):
		return errors.Join(err, r.setStopped(false))
	default:
		return errors.Join(err, r.start(serving))
	}
}

// setStopped notes in record and journal that the tenant is, or may be, down
// because of this restore, so that a crash does not hide it.
func (r *restoreRun) setStopped(stopped bool) error {
	r.job.update(func(record *Record) { record.TenantStopped = stopped })
	if err := r.journal.save(entry{Record: r.job.snapshot(), Request: r.job.request, Pipes: r.outlet.Pipes()}); err != nil {
		return newError(StageTrigger, CodeState, err)
	}
	return nil
}

// outlast runs a statement of HANA and does not abandon it when serving ends:
// cut is called then, and HANA has AnswerTimeout to answer.
func (r *restoreRun) outlast(serving context.Context, statement func(context.Context, backup.Plan) error, cut func()) error {
	waiting, abandon := context.WithCancel(context.WithoutCancel(serving))
	defer abandon()
	answer := make(chan error, 1)
	go func() { answer <- statement(waiting, r.plan) }()
	select {
	case err := <-answer:
		return err
	case <-serving.Done():
		cut()
	}
	timer := time.NewTimer(r.config.AnswerTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		abandon()
		if err := <-answer; err != nil {
			return fmt.Errorf("HANA gave no answer within %s: %w", r.config.AnswerTimeout, err)
		}
		return nil
	}
}

// start starts the tenant, also when serving has ended. Where HANA does not
// answer it is asked again: what counts is whether the tenant runs at last, and
// to start one that runs is no error.
func (r *restoreRun) start(serving context.Context) error {
	ctx, cancel := cleanContext(serving, r.config.AnswerTimeout)
	defer cancel()
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := r.parts.Recoverer.Start(ctx, r.plan)
		if _, refused := errors.AsType[*backup.HANAError](err); refused && !r.deaf {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return err
	}
	r.job.note(SideHANA, "runs the tenant again")
	if err := r.setStopped(false); err != nil {
		r.log.Warn("the journal still says that the tenant is stopped", zap.Error(err))
	}
	return nil
}

// awaitRecovery issues RECOVER and waits for the answer. When serving ends
// first, the pipes are closed and HANA gets AnswerTimeout to say what it makes
// of it. When the answer gets lost, HANA is served on.
func (r *restoreRun) awaitRecovery(serving context.Context) error {
	statement := r.parts.Recoverer.Recover
	r.job.note(SideDaemon, "sends RECOVER DATA to HANA")
	if !r.simple() {
		statement = func(ctx context.Context, _ backup.Plan) error { return r.parts.Recoverer.RecoverTo(ctx, r.recovery) }
	}
	answer := r.outlast(serving, statement, func() {
		if err := r.outlet.close(); err != nil {
			r.log.Error("pipes could not be removed", zap.Error(err))
		}
	})
	if serving.Err() != nil {
		return answer
	}
	return r.recovered(serving, answer)
}

// recovered takes the answer to RECOVER. One that got lost, with the connection,
// says nothing about the recovery: HANA may read on. It has recovered when it
// has read every stream to its end and then runs the tenant; that a real HANA
// goes on without its client was tried with the simulator only.
func (r *restoreRun) recovered(serving context.Context, answer error) error {
	if answer == nil || isFinal(answer) {
		return answer
	}
	r.deaf = true
	r.log.Warn("HANA's answer got lost; it is served on while it reads", zap.Error(answer))
	r.job.note(SideHANA, "its answer got lost, it is served on while it reads: %v", answer)
	reading, cancel := context.WithCancelCause(serving)
	defer cancel(nil)
	var group sync.WaitGroup
	group.Go(func() { r.watchReading(reading, func() { cancel(answer) }) })
	err := r.awaitReaders(reading)
	cancel(nil)
	group.Wait()
	return err
}

// watchReading calls quit when nothing was read for AnswerTimeout.
func (r *restoreRun) watchReading(ctx context.Context, quit func()) {
	const looks = 20
	ticker := time.NewTicker(r.config.AnswerTimeout / looks)
	defer ticker.Stop()
	var last int64
	for still := 0; still < looks; still++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var sum int64
		for i := range r.served {
			sum += r.served[i].counter.read.Load()
		}
		if r.shelf != nil {
			sum += int64(len(r.shelf.Opened()))
		}
		if sum != last {
			still, last = 0, sum
		}
	}
	quit()
}

// recoverCommand is what an operator runs as <sid>adm in HANA's container to
// recover SYSTEMDB with a statement (SAP HANA administration guide: SQL clients
// cannot recover SYSTEMDB).
func recoverCommand(statement string) string {
	return `HDBSettings.sh recoverSys.py --command="` + statement + `" --wait`
}
