package hdbtrigger

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

var _ backup.Recoverer = (*Trigger)(nil)

// CheckRecovery implements [backup.Recoverer]. Without it a wrong port would
// let the tenant of the same name in another system be stopped and replaced.
func (t *Trigger) CheckRecovery(ctx context.Context, plan backup.Plan) error {
	sid, _, err := t.system(ctx)
	if err != nil {
		return fmt.Errorf("check recovery of %s: %w", plan.Database, err)
	}
	if sid != plan.SID {
		return fmt.Errorf("check recovery of %s: %w: HANA says that its SID is %q, expected %q", plan.Database, backup.ErrWrongSystem, sid, plan.SID)
	}
	if _, err := t.status(ctx, plan.Database); err != nil {
		return fmt.Errorf("check recovery of %s: %w", plan.Database, err)
	}
	for _, check := range []func(context.Context, string) error{t.checkPrimary, t.checkIdle} {
		if err := check(ctx, plan.Database); err != nil {
			return fmt.Errorf("check recovery of %s: %w", plan.Database, err)
		}
	}
	return nil
}

// Stop implements [backup.Recoverer].
func (t *Trigger) Stop(ctx context.Context, plan backup.Plan) error {
	status, err := t.status(ctx, plan.Database)
	if err == nil && status != stopped {
		err = t.change(ctx, kindStop, plan.Database)
	}
	if err != nil {
		return fmt.Errorf("stop tenant %s, nothing was recovered: %w", plan.Database, err)
	}
	return nil
}

// Recover implements [backup.Recoverer].
func (t *Trigger) Recover(ctx context.Context, plan backup.Plan) error {
	recoverData, err := recoverStatement(plan)
	if err != nil {
		return err
	}
	return recovered(plan.Database, t.execute(ctx, recoverData))
}

// RecoverTo implements [backup.Recoverer].
func (t *Trigger) RecoverTo(ctx context.Context, r backup.Recovery) error {
	if err := checkTenant(r.Database); err != nil {
		return fmt.Errorf("recover to a point: %w", err)
	}
	recoverTo, err := recoveryStatement(r)
	if err != nil {
		return err
	}
	return recovered(r.Database, t.execute(ctx, recoverTo))
}

// recovered says what an error of RECOVER means for the tenant.
func recovered(tenant string, err error) error {
	if err == nil {
		return nil
	}
	if _, answered := errors.AsType[*backup.HANAError](err); answered || errors.Is(err, backup.ErrNotSent) {
		return fmt.Errorf("recover tenant %s, which is left stopped: %w", tenant, err)
	}
	return fmt.Errorf("recover tenant %s, whether it is recovered is not known: %w", tenant, err)
}

// stopped is what M_DATABASES.ACTIVE_STATUS says of a database that is down.
const stopped = "NO"

// Start implements [backup.Recoverer]. A tenant that is on its way up by itself
// makes START fail, so what counts is whether it runs afterwards.
func (t *Trigger) Start(ctx context.Context, plan backup.Plan) error {
	status, err := t.status(ctx, plan.Database)
	if err != nil {
		return fmt.Errorf("start tenant %s: %w", plan.Database, err)
	}
	if status == active {
		return nil
	}
	startErr := t.change(ctx, kindStart, plan.Database)
	if startErr == nil {
		return nil
	}
	if status, err := t.status(ctx, plan.Database); err == nil && status == active {
		t.log.Info("the tenant was started by RECOVER itself", zap.String("database", plan.Database), zap.Error(startErr))
		return nil
	}
	return fmt.Errorf("start tenant %s, which is stopped: %w", plan.Database, startErr)
}

// change sends ALTER SYSTEM STOP or START DATABASE.
func (t *Trigger) change(ctx context.Context, kind, database string) error {
	s, err := databaseStatement(kind, database)
	if err != nil {
		return err
	}
	return t.execute(ctx, s)
}
