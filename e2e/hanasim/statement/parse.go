package statement

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The statements. A database name is empty for the session's own database.
type (
	// Query is anything that begins with SELECT or WITH.
	Query struct{}
	// Nothing is accepted and does nothing: COMMIT, ROLLBACK, SET ….
	Nothing struct{}
	// Backup is BACKUP DATA … USING FILE.
	Backup struct {
		Kind, Database string // Kind is complete, differential or incremental
		Path           string // path prefix, or a bare prefix
		Asynchronous   bool
		Comment        string
	}
	// BackupCancel is BACKUP CANCEL.
	BackupCancel struct{ BackupID int64 }
	// CatalogDelete is BACKUP CATALOG DELETE [ALL BEFORE] BACKUP_ID.
	CatalogDelete struct {
		Database            string
		BackupID            int64
		AllBefore, Complete bool
	}
	// SwitchDatabase is ALTER SYSTEM START or STOP DATABASE.
	SwitchDatabase struct {
		Database string
		Start    bool
	}
	// CancelSession is ALTER SYSTEM CANCEL SESSION.
	CancelSession struct{ ID int64 }
	// Configure is ALTER SYSTEM ALTER CONFIGURATION … SET or UNSET.
	Configure struct {
		File, Layer, Database string
		Changes               []Change
	}
	// Change is one parameter of Configure; Unset when it is taken away.
	Change struct {
		Section, Key, Value string
		Unset               bool
	}
	// Recover is RECOVER DATA … USING FILE or BACKUP_ID, or RECOVER DATABASE …
	// UNTIL TIMESTAMP, which has a time in Until.
	Recover struct {
		Database, Path        string
		BackupID              int64
		Until                 time.Time
		Source                string
		CatalogPath, DataPath string
		LogPaths              []string
		ClearLog, CheckAccess bool
	}
	// Sim is a statement to the simulator itself: SIM <verb> 'argument' ….
	Sim struct {
		Verb      string
		Arguments []string
	}
)

// Parse reads one statement. What it does not know, or a parameter (?), is
// error 257.
func Parse(sql string) (any, error) {
	tokens, err := Lex(sql)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	statement := p.statement()
	if _, query := statement.(Query); query {
		return statement, nil
	}
	if _, nothing := statement.(Nothing); nothing {
		return statement, nil
	}
	if statement == nil || p.failed || p.tokens[p.at].Kind != End {
		return nil, SyntaxError(sql, p.tokens[p.at].Start)
	}
	return statement, nil
}

// parser remembers the first token that did not fit and stays there.
type parser struct {
	tokens []Token
	at     int
	failed bool
}

func (p *parser) statement() any {
	switch {
	case p.accept("SELECT"), p.accept("WITH"), p.accept("("):
		return Query{}
	case p.accept("COMMIT"), p.accept("ROLLBACK"), p.accept("SET"):
		return Nothing{}
	case p.accept("BACKUP", "DATA"):
		return p.backup()
	case p.accept("BACKUP", "CANCEL"):
		return BackupCancel{p.number()}
	case p.accept("BACKUP", "CATALOG", "DELETE"):
		return p.catalogDelete()
	case p.accept("RECOVER", "DATA"):
		return p.recoverData()
	case p.accept("RECOVER", "DATABASE"):
		return p.recoverDatabase()
	case p.accept("ALTER", "SYSTEM"):
		return p.alterSystem()
	case p.accept("SIM"):
		return p.sim()
	}
	return nil
}

func (p *parser) alterSystem() any {
	switch {
	case p.accept("STOP", "DATABASE"):
		return SwitchDatabase{Database: p.name()}
	case p.accept("START", "DATABASE"):
		return SwitchDatabase{Database: p.name(), Start: true}
	case p.accept("CANCEL", "SESSION"):
		id, err := strconv.ParseInt(p.text(), 10, 64)
		p.failed = p.failed || err != nil
		return CancelSession{id}
	case p.accept("ALTER", "CONFIGURATION"):
		return p.configure()
	}
	return nil
}

func (p *parser) backup() Backup {
	b := Backup{Kind: "complete"}
	switch {
	case p.accept("DIFFERENTIAL"):
		b.Kind = "differential"
	case p.accept("INCREMENTAL"):
		b.Kind = "incremental"
	}
	b.Database = p.database()
	b.Path = p.usingFile()
	b.Asynchronous = p.accept("ASYNCHRONOUS")
	if p.accept("COMMENT") {
		b.Comment = p.text()
	}
	return b
}

// usingFile reads ('prefix') or ('path', 'prefix').
func (p *parser) usingFile() string {
	p.expect("USING", "FILE", "(")
	file := p.text()
	if p.accept(",") {
		file = path.Join(file, p.text())
	}
	p.expect(")")
	return file
}

func (p *parser) catalogDelete() CatalogDelete {
	d := CatalogDelete{Database: p.database()}
	d.AllBefore = p.accept("ALL", "BEFORE")
	p.expect("BACKUP_ID")
	d.BackupID = p.number()
	d.Complete = p.accept("COMPLETE")
	return d
}

func (p *parser) configure() Configure {
	p.expect("(")
	c := Configure{File: p.text()}
	p.expect(",")
	c.Layer = p.text()
	if p.accept(",") {
		c.Database = p.text()
	}
	p.expect(")")
	unset := p.accept("UNSET")
	if !unset {
		p.expect("SET")
	}
	for more := true; more && !p.failed; more = p.accept(",") {
		p.expect("(")
		change := Change{Section: p.text(), Unset: unset}
		p.expect(",")
		change.Key = p.text()
		p.expect(")")
		if !unset {
			p.expect("=")
			change.Value = p.text()
		}
		c.Changes = append(c.Changes, change)
	}
	p.accept("WITH", "RECONFIGURE")
	return c
}

func (p *parser) sim() Sim {
	s := Sim{}
	for p.tokens[p.at].Kind == Word {
		s.Verb = strings.TrimSpace(s.Verb + " " + p.tokens[p.at].Value)
		p.at++
	}
	for p.tokens[p.at].Kind == String || p.tokens[p.at].Kind == Number {
		s.Arguments = append(s.Arguments, p.tokens[p.at].Value)
		p.at++
	}
	return s
}

// accept takes the words or symbols if all of them come next.
func (p *parser) accept(values ...string) bool {
	if p.failed || p.at+len(values) > len(p.tokens) {
		return false
	}
	for i, value := range values {
		if token := p.tokens[p.at+i]; token.Value != value || !slices.Contains([]Kind{Word, Symbol}, token.Kind) {
			return false
		}
	}
	p.at += len(values)
	return true
}

func (p *parser) expect(values ...string) {
	for _, value := range values {
		p.failed = p.failed || !p.accept(value)
	}
}

// take takes the next token if it is of one of kinds.
func (p *parser) take(kinds ...Kind) string {
	token := p.tokens[p.at]
	if p.failed || !slices.Contains(kinds, token.Kind) {
		p.failed = true
		return ""
	}
	p.at++
	return token.Value
}

func (p *parser) text() string { return p.take(String) }

func (p *parser) name() string { return p.take(Word, Quoted) }

func (p *parser) number() int64 {
	n, err := strconv.ParseInt(p.take(Number), 10, 64)
	p.failed = p.failed || err != nil
	return n
}

// database reads an optional FOR <database>.
func (p *parser) database() string {
	if !p.accept("FOR") {
		return ""
	}
	return p.name()
}
