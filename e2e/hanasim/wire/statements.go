package wire

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// statement is a prepared statement.
type statement struct {
	text       string
	parameters []Column
	columns    []Column
}

func (s *statement) function() functionCode {
	if len(s.columns) > 0 {
		return functionSelect
	}
	return functionOf(s.text)
}

// functionOf gives the function code of a statement that returns no rows. Clients
// give a count of affected rows only for INSERT, UPDATE and DELETE.
func functionOf(text string) functionCode {
	first := ""
	for first = range strings.FieldsSeq(text) {
		break
	}
	switch strings.ToUpper(first) {
	case "INSERT":
		return functionInsert
	case "UPDATE", "UPSERT", "REPLACE", "MERGE":
		return functionUpdate
	case "DELETE":
		return functionDelete
	default:
		return functionDDL
	}
}

func success(function functionCode, parts ...part) *reply {
	return &reply{kind: segmentReply, function: function, parts: parts}
}

// command reads the text of a statement.
func (r *request) command() (string, error) {
	p, ok := r.part(partCommand)
	if !ok {
		return "", fmt.Errorf("%w: message type %d without a command", errMalformed, r.messageType)
	}
	text, err := decodeCESU8(p.data)
	if err != nil {
		return "", &Error{Code: codeFeatureNotSupported, State: stateGeneral, Text: "feature not supported: " + err.Error()}
	}
	return text, nil
}

func (s *session) executeDirect(ctx context.Context, req request) (*reply, error) {
	text, err := req.command()
	if err != nil {
		return nil, err
	}
	result, err := s.backend.Execute(ctx, text, nil)
	if err != nil {
		return nil, err
	}
	if len(result.Columns) > 0 {
		return s.rowsReply(result, true)
	}
	return countReply(functionOf(text), []int64{result.Affected}), nil
}

func countReply(function functionCode, counts []int64) *reply {
	if function == functionDDL {
		return success(function)
	}
	return success(function, rowsAffected(counts))
}

// prepare answers with a statement id and what goes in and comes out. npm hdb
// needs the description of parameters even when there are none.
func (s *session) prepare(_ context.Context, req request) (*reply, error) {
	text, err := req.command()
	if err != nil {
		return nil, err
	}
	prepared := &statement{text: text}
	if prepared.parameters, prepared.columns, err = s.backend.Describe(text); err != nil {
		return nil, err
	}
	id := s.newID()
	s.statements[id] = prepared
	answer := success(prepared.function(), idPart(partStatementID, id), parameterMetadata(prepared.parameters, s.format))
	if len(prepared.columns) > 0 {
		answer.parts = append(answer.parts, columnMetadata(prepared.columns, s.format))
	}
	return answer, nil
}

func (s *session) dropStatement(_ context.Context, req request) (*reply, error) {
	id, err := req.id(partStatementID)
	if err != nil {
		return nil, err
	}
	delete(s.statements, id)
	return success(functionNil), nil
}

// execution is a prepared statement on its way, with the rows of its parameters.
// It waits in the session while LOBs of its last row are still arriving.
type execution struct {
	statement *statement
	rows      [][]any
}

// unfinished gives the LOBs that are still arriving, in the order of parameters.
func (e *execution) unfinished() []*inLob {
	var lobs []*inLob
	for _, value := range e.rows[len(e.rows)-1] {
		if lob, ok := value.(*inLob); ok && !lob.last {
			lobs = append(lobs, lob)
		}
	}
	return lobs
}

func (s *session) execute(ctx context.Context, req request) (*reply, error) {
	s.pending = nil
	id, err := req.id(partStatementID)
	if err != nil {
		return nil, err
	}
	prepared, ok := s.statements[id]
	if !ok {
		return nil, generalError(fmt.Sprintf("statement %d is not prepared", id))
	}
	parameters, _ := req.part(partParameters)
	e := &execution{statement: prepared}
	if e.rows, err = parseParameters(parameters, prepared.parameters); err != nil {
		return nil, err
	}
	return s.proceed(ctx, e)
}

// proceed runs e, or asks for the rest of its LOBs: the reply then has their
// locators.
func (s *session) proceed(ctx context.Context, e *execution) (*reply, error) {
	lobs := e.unfinished()
	if len(lobs) == 0 {
		s.pending = nil
		return s.run(ctx, e)
	}
	s.pending = e
	locators := part{kind: partWriteLobReply, count: len(lobs)}
	for _, lob := range lobs {
		if lob.locator == 0 {
			lob.locator = s.newID()
		}
		locators.data = append(locators.data, idPart(partWriteLobReply, lob.locator).data...)
	}
	return success(e.statement.function(), locators), nil
}

// writeLob takes further pieces of the LOBs that the pending execution waits for.
func (s *session) writeLob(ctx context.Context, p part) (*reply, error) {
	pieces, err := parseLobPieces(p)
	if err != nil {
		return nil, err
	}
	if s.pending == nil {
		return nil, generalError("no statement waits for LOB data")
	}
	lobs := s.pending.unfinished()
	for _, piece := range pieces {
		i := slices.IndexFunc(lobs, func(l *inLob) bool { return l.locator == piece.locator })
		if i < 0 {
			return nil, generalError(fmt.Sprintf("LOB locator %d is not open", piece.locator))
		}
		if err := lobs[i].write(piece.options, piece.data); err != nil {
			return nil, err
		}
	}
	answer, err := s.proceed(ctx, s.pending)
	if err == nil && answer.kind == segmentReply && s.pending != nil {
		answer.function = functionWriteLob
	}
	return answer, err
}

// run executes e once per row of parameters. Rows can come back from a single
// execution only.
func (s *session) run(ctx context.Context, e *execution) (*reply, error) {
	var counts []int64
	for _, row := range e.rows {
		arguments, err := finishLobs(row)
		if err != nil {
			return nil, err
		}
		result, err := s.backend.Execute(ctx, e.statement.text, arguments)
		if err != nil {
			return nil, err
		}
		if err := sameTypes(e.statement.columns, result.Columns); err != nil {
			return nil, err
		}
		if len(result.Columns) > 0 {
			return s.rowsReply(result, false)
		}
		counts = append(counts, result.Affected)
	}
	return countReply(e.statement.function(), counts), nil
}

func finishLobs(row []any) ([]any, error) {
	arguments := slices.Clone(row)
	for i, value := range row {
		lob, ok := value.(*inLob)
		if !ok {
			continue
		}
		var err error
		if arguments[i], err = lob.value(); err != nil {
			return nil, err
		}
	}
	return arguments, nil
}

// sameTypes guards against a backend that describes one thing and returns
// another: the client decodes rows by the description.
func sameTypes(described, returned []Column) error {
	same := slices.EqualFunc(described, returned, func(a, b Column) bool {
		return a.Type == b.Type && wireScale(a) == wireScale(b)
	})
	if !same {
		return generalError(fmt.Sprintf("result of %d columns differs from the %d described", len(returned), len(described)))
	}
	return nil
}
