package wire

import (
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// loginMessageLimit bounds what a client that has not logged in may send at once.
const loginMessageLimit = 64 << 10

// serverVersion is what clients are told to speak with.
const serverVersion = "2.00.070.00.1679989823 (fa/hana2sp07)"

var errNotLoggedIn = errors.New("client left before it logged in")

// login serves a connection up to its session: questions where a database is,
// AUTHENTICATE, CONNECT. Every answer but the last keeps the session id of the
// request.
func (c *connection) login() (*session, error) {
	var exchange *exchange
	for {
		req, err := readRequest(c.r, loginMessageLimit)
		if err != nil {
			return nil, err
		}
		var answer *reply
		switch req.messageType {
		case messageDBConnectInfo:
			answer, err = c.locate(req)
		case messageAuthenticate:
			exchange, answer, err = c.authenticate(req)
		case messageConnect:
			return c.connect(req, exchange)
		case messageDisconnect:
			return nil, errors.Join(errNotLoggedIn, c.send(req, success(functionDisconnect)))
		default:
			return nil, fmt.Errorf("%w: message type %d before login", errMalformed, req.messageType)
		}
		if err := c.answer(req, answer, err); err != nil {
			return nil, err
		}
	}
}

// locate answers where a database is reached (DB connect info): by the name of
// the database, whether it is here or else at which host and port.
func (c *connection) locate(req request) (*reply, error) {
	asked, ok := req.part(partDBConnectInfo)
	if !ok {
		return nil, fmt.Errorf("%w: DB connect info without its part", errMalformed)
	}
	values, err := parseOptions(asked)
	if err != nil {
		return nil, err
	}
	database, _ := values[dbConnectDatabaseName].(string)
	host, port, here, err := c.server.backend.Locate(c.server.name, database)
	if err != nil {
		return nil, err
	}
	var info options
	info.boolean(dbConnectIsConnected, here)
	if !here {
		info.text(dbConnectHost, host)
		info.integer(dbConnectPort, int32(port))
	}
	return success(functionNil, info.part(partDBConnectInfo)), nil
}

func (c *connection) authenticate(req request) (*exchange, *reply, error) {
	offer, ok := req.part(partAuthentication)
	if !ok {
		return nil, nil, fmt.Errorf("%w: AUTHENTICATE without its part", errMalformed)
	}
	exchange, err := newExchange(offer, c.server.methods, c.server.name)
	if err != nil {
		return nil, nil, err
	}
	return exchange, success(functionNil, exchange.challenge()), nil
}

// connect checks the proof, opens the session and answers with its id.
func (c *connection) connect(req request, exchange *exchange) (*session, error) {
	if exchange == nil {
		return nil, fmt.Errorf("%w: CONNECT before AUTHENTICATE", errMalformed)
	}
	session, answer, err := c.open(req, exchange)
	if err != nil {
		refusal := c.answer(req, nil, err)
		return nil, errors.Join(fmt.Errorf("log in %s: %w", exchange.user, err), refusal)
	}
	c.sessionID = c.server.lastSession.Add(1)
	c.log = c.log.With(zap.String("user", exchange.user), zap.Int64("session", c.sessionID))
	req.sessionID = c.sessionID
	if err := c.send(req, answer); err != nil {
		session.backend.Close()
		return nil, err
	}
	return session, nil
}

func (c *connection) open(req request, exchange *exchange) (*session, *reply, error) {
	final, ok := req.part(partAuthentication)
	if !ok {
		return nil, nil, fmt.Errorf("%w: CONNECT without proof", errMalformed)
	}
	proof, err := exchange.proof(final)
	if err != nil {
		return nil, nil, err
	}
	wanted, _ := req.part(partConnectOptions)
	format, err := negotiateFormat(wanted)
	if err != nil {
		return nil, nil, err
	}
	password, err := c.server.backend.Password(c.server.name, exchange.user)
	if err != nil {
		return nil, nil, err
	}
	proven, err := exchange.verify(proof, password)
	if err != nil {
		return nil, nil, err
	}
	backend, err := c.server.backend.Open(c.server.name, exchange.user)
	if err != nil {
		return nil, nil, err
	}
	topology := part{kind: partTopology}
	return newSession(backend, format), success(functionConnect, proven, connectOptions(format), topology), nil
}

// negotiateFormat gives the smaller of the data format versions that the client
// and the server know. Clients ask by either of two options.
func negotiateFormat(p part) (int, error) {
	values, err := parseOptions(p)
	if err != nil {
		return 0, err
	}
	for _, option := range []byte{connectDataFormatVersion2, connectDataFormatVersion} {
		if wanted, ok := values[option].(int64); ok {
			return int(min(max(wanted, lowestFormat), highestFormat)), nil
		}
	}
	return lowestFormat, nil
}

// connectOptions tells what the server does. Answering 0 to a distribution mode,
// and nothing to a wish for compression, switches both off.
func connectOptions(format int) part {
	var o options
	o.integer(connectDataFormatVersion, int32(format))
	o.integer(connectDataFormatVersion2, int32(format))
	o.integer(connectDistributionMode, 0)
	o.integer(connectFlagSet, flagClientPing)
	o.text(connectFullVersion, serverVersion)
	return o.part(partConnectOptions)
}
