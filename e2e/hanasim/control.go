package hanasim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/landscape"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/views"
)

// Order is what goes to the control port: one object of JSON, which is answered
// by one [Receipt]. It stands for a shell in HANA's container: it works while
// SYSTEMDB is down.
type Order struct {
	User, Password string
	Statement      string // SIM …
}

// Receipt is the answer to an Order; Error is empty on success.
type Receipt struct{ Error string }

// Send sends an order to a control port and waits until it is carried out. It
// is carried out even if ctx ends before.
func Send(ctx context.Context, addr string, order Order) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect to simulator: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the wait below
	defer stop()
	var receipt Receipt
	err = json.NewEncoder(conn).Encode(order)
	if err == nil {
		err = json.NewDecoder(conn).Decode(&receipt)
	}
	_ = conn.Close() // nothing is left to be sent
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("ask simulator: %w", err)
	case receipt.Error != "":
		return errors.New(receipt.Error)
	}
	return nil
}

// control serves the control port.
type control struct {
	system *System
	port   *port
	stop   context.CancelFunc
	work   sync.WaitGroup
}

func (s *System) openControl() error {
	port, err := reservePort(s.config.Listen, 0)
	if err != nil {
		return err
	}
	listener, err := port.listen()
	if err != nil {
		return errors.Join(err, port.release())
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &control{system: s, port: port, stop: stop}
	context.AfterFunc(ctx, func() { _ = listener.Close() }) // ends Accept
	c.work.Go(func() { c.accept(ctx, listener) })
	s.control = c
	return nil
}

func (c *control) close() error {
	c.stop()
	c.work.Wait()
	return c.port.release()
}

func (c *control) accept(ctx context.Context, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() == nil {
				c.system.log.Error("control port", zap.Error(err))
			}
			return
		}
		c.work.Go(func() { c.serve(ctx, conn) })
	}
}

func (c *control) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends a wait for the order
	defer stop()
	defer func() { _ = conn.Close() }() // the receipt is written or the client gone
	var order Order
	var receipt Receipt
	if err := json.NewDecoder(conn).Decode(&order); err != nil {
		return
	}
	if err := c.carryOut(ctx, order); err != nil {
		receipt.Error = err.Error()
	}
	if err := json.NewEncoder(conn).Encode(receipt); err != nil && ctx.Err() == nil {
		c.system.log.Error("control port", zap.Error(err))
	}
}

func (c *control) carryOut(ctx context.Context, order Order) error {
	password, err := c.system.users.password(order.User)
	if err != nil {
		return err
	}
	if password != order.Password {
		return errors.New("authentication failed")
	}
	c.system.users.loggedIn(order.User)
	parsed, err := statement.Parse(order.Statement)
	if err != nil {
		return err
	}
	sim, ok := parsed.(statement.Sim)
	if !ok {
		return errors.New("expected a SIM statement")
	}
	s := &session{system: c.system, database: landscape.SystemDB, control: true, reader: views.Reader{User: order.User}}
	return s.sim(ctx, sim)
}
