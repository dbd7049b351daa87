package statement

import "time"

// recoverData reads RECOVER DATA: one data backup.
func (p *parser) recoverData() Recover {
	r := Recover{Database: p.database()}
	if p.accept("USING", "BACKUP_ID") {
		r.BackupID = p.number()
		p.recoverOptions(&r, false)
	} else {
		r.Path = p.usingFile()
	}
	p.expect("CLEAR", "LOG")
	r.ClearLog = true
	return r
}

// recoverDatabase reads RECOVER DATABASE: to a point in time.
func (p *parser) recoverDatabase() Recover {
	r := Recover{Database: p.database()}
	p.expect("UNTIL", "TIMESTAMP")
	r.Until = p.timestamp()
	r.ClearLog = p.accept("CLEAR", "LOG")
	p.recoverOptions(&r, true)
	if p.accept("CHECK", "ACCESS") {
		if !p.accept("ALL") {
			p.expect("USING", "FILE")
		}
		r.CheckAccess = true
	}
	return r
}

// recoverOptions reads the USING clauses. Real statements have those of the log
// and of the data path in either order. toTime allows those of RECOVER DATABASE.
func (p *parser) recoverOptions(r *Recover, toTime bool) {
	for {
		switch {
		case p.accept("USING", "SOURCE"):
			r.Source = p.text()
		case p.accept("USING", "CATALOG", "PATH"):
			r.CatalogPath = p.paths(1)[0]
		case p.accept("USING", "DATA", "PATH"):
			r.DataPath = p.paths(1)[0]
		case toTime && p.accept("USING", "LOG", "PATH"):
			r.LogPaths = p.paths(0)
		case toTime && p.accept("USING", "BACKUP_ID"):
			r.BackupID = p.number()
		default:
			return
		}
	}
}

// paths reads ('path', …), exactly so many unless count is 0.
func (p *parser) paths(count int) []string {
	p.expect("(")
	paths := []string{p.text()}
	for count != len(paths) && p.accept(",") {
		paths = append(paths, p.text())
	}
	p.expect(")")
	return paths
}

// timestamp reads a time in UTC as a text. Both forms were seen of the date; a
// fraction of a second is from memory.
func (p *parser) timestamp() time.Time {
	text := p.text()
	for _, layout := range []string{time.DateTime, "2006.01.02 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	p.failed = true
	return time.Time{}
}
