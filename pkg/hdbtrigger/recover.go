package hdbtrigger

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Recover stops the tenant, issues RECOVER DATA … CLEAR LOG from the complete
// backup at plan.Path() and makes sure that the tenant runs again: RECOVER was
// seen to start it by itself. Errors are as for Backup. After a failed RECOVER
// the tenant stays stopped, because its data may be half replaced; the error
// says so.
func (t *Trigger) Recover(ctx context.Context, plan backup.Plan) error {
	recoverData, err := recoverStatement(plan)
	if err != nil {
		return err
	}
	if err := t.stop(ctx, plan.Database); err != nil {
		return fmt.Errorf("stop tenant %s, nothing was recovered: %w", plan.Database, err)
	}
	err = t.execute(ctx, recoverData)
	if _, answered := errors.AsType[*backup.HANAError](err); answered {
		return fmt.Errorf("recover tenant %s, which is left stopped: %w", plan.Database, err)
	}
	if err != nil {
		return fmt.Errorf("recover tenant %s, whether it is recovered is not known: %w", plan.Database, err)
	}
	if err := t.ensureStarted(ctx, plan.Database); err != nil {
		return fmt.Errorf("start tenant %s, which is recovered: %w", plan.Database, err)
	}
	return nil
}

// stop stops a tenant that is not stopped already.
func (t *Trigger) stop(ctx context.Context, database string) error {
	status, err := t.status(ctx, database)
	if err != nil || status == stopped {
		return err
	}
	stop, err := databaseStatement(kindStop, database)
	if err != nil {
		return err
	}
	return t.execute(ctx, stop)
}

// stopped is what M_DATABASES.ACTIVE_STATUS says of a database that is down.
const stopped = "NO"

// ensureStarted starts a tenant that does not run. One that was on its way up
// by itself makes START fail, so what counts is whether it runs afterwards.
func (t *Trigger) ensureStarted(ctx context.Context, database string) error {
	status, err := t.status(ctx, database)
	if err != nil || status == active {
		return err
	}
	start, err := databaseStatement(kindStart, database)
	if err != nil {
		return err
	}
	startErr := t.execute(ctx, start)
	if startErr == nil {
		return nil
	}
	status, err = t.status(ctx, database)
	if err == nil && status == active {
		t.log.Info("the tenant was started by RECOVER itself", zap.String("database", database), zap.Error(startErr))
		return nil
	}
	return startErr
}
