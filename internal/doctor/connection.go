package doctor

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
)

// clockTolerance is how far clocks may be apart, besides what a question takes.
const clockTolerance = 2 * time.Second

// judgeConnection is about what all databases share.
func judgeConnection(f *Facts) []Finding {
	r := new(report)
	judgeTLS(r, &f.Settings)
	if f.HANAError != nil {
		hint := cmp.Or(hdbtrigger.Hint(f.HANAError), "Check hana.host, hana.port, hana.user and hana.passwordFile with the message.")
		r.add(CheckHANA, Error, hint, "%v", f.HANAError)
	}
	if len(f.HANA) == 0 {
		return r.findings
	}
	i := &f.HANA[0]
	switch err := i.Unreadable[hdbtrigger.AskSystem]; {
	case err != nil:
		unread(r, CheckHANA, err)
	case !i.IsSystemDB():
		r.add(CheckHANA, Error, "Set hana.port to the SQL port of SYSTEMDB, 3<instance>13.", "the SQL port belongs to database %s, not to %s", i.PortDatabase, backup.SystemDB)
	case i.SID != f.Settings.SID:
		r.add(CheckHANA, Error, "Set hana.sid, or connect to the right system.", "HANA says that its SID is %s, hana.sid is %s", i.SID, f.Settings.SID)
	case f.HANAError == nil:
		r.ok(CheckHANA, "HANA %s of %s answers user %s", i.Version, i.SID, i.CurrentUser)
	}
	judgeHANAClock(r, i)
	return r.findings
}

func judgeTLS(r *report, s *Settings) {
	address, err := netip.ParseAddr(s.Host)
	local := s.Host == "localhost" || err == nil && address.IsLoopback()
	switch {
	case s.TLS && s.Insecure:
		r.add(CheckTLS, Warning, "Set hana.tls.caFile, and hana.tls.serverName if needed, instead of hana.tls.insecureSkipVerify.", "any certificate is accepted as HANA's")
	case s.TLS:
		r.ok(CheckTLS, "the connection has TLS")
	case local:
		r.ok(CheckTLS, "no TLS, within this machine or pod")
	default:
		r.add(CheckTLS, Warning, "Set hana.tls.enabled.", "the connection to %s has no TLS: the password's proof and all SQL can be read on the way", s.Host)
	}
}

func judgeHANAClock(r *report, i *hdbtrigger.Inspection) {
	if err := i.Unreadable[hdbtrigger.AskClock]; err != nil {
		unread(r, CheckHANAClock, err)
		return
	}
	if ahead := i.Clock.Ahead; ahead.Abs() > clockTolerance+i.Clock.RoundTrip/2 {
		r.add(CheckHANAClock, Warning, "Synchronise the clocks (NTP): points in time mean HANA's clock, and ages of recovery points ours.",
			"HANA's clock is %s ahead of this machine's", ahead.Round(time.Millisecond))
		return
	}
	r.ok(CheckHANAClock, "HANA's clock agrees with this machine's, within %s", (clockTolerance + i.Clock.RoundTrip/2).Round(time.Millisecond))
}

// unread is the finding of a question that HANA did not answer.
func unread(r *report, check string, err error) {
	hint := cmp.Or(hdbtrigger.Hint(err), "Look at the message; a missing privilege is the usual reason.")
	r.add(check, Warning, hint, "HANA did not tell: %v", err)
}
