package e2e

import (
	"net/http"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/faultys3"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// The requests that faults choose.
var (
	anything      = faultys3.Match{}
	ofStreams     = faultys3.Match{Key: "/data/"}
	parts         = faultys3.Match{Kinds: []faultys3.Kind{faultys3.Part}, Key: "/data/"}
	completions   = faultys3.Match{Kinds: []faultys3.Kind{faultys3.Complete}, Key: "/data/"}
	aborts        = faultys3.Match{Kinds: []faultys3.Kind{faultys3.Abort}, Key: "/data/"}
	ofTheManifest = faultys3.Match{Kinds: []faultys3.Kind{faultys3.Complete}, Key: "/manifests/"}
	looks         = faultys3.Match{Kinds: []faultys3.Kind{faultys3.Head}, Key: "/data/"}
	lists         = faultys3.Match{Kinds: []faultys3.Kind{faultys3.List}}
)

// first limits a match to so many requests.
func first(n int, match faultys3.Match) faultys3.Match {
	match.Count = n
	return match
}

// answer makes the store answer so from the phase on.
func answer(match faultys3.Match, with faultys3.Answer) func(*faultCase) {
	return func(c *faultCase) { c.add(match, with) }
}

// outage is the outcome of a store that goes away and does not come back: the
// bytes cannot be taken, then not be made visible. Neither can anything be
// cleaned up. asked is what is known when objects are looked at, a request that
// is answered without a body; a commit begins and ends with it.
func outage(words, asked string) map[phase]outcome {
	away, late := named(refused(words)), named(uncommitted(asked))
	return map[phase]outcome{beforeOpen: away, firstBytes: away, middle: away, afterEOF: late, duringCommit: late}
}

// named is an outcome after which something may stay in the store, which the
// job names.
func named(o outcome) outcome {
	o.leftover = true
	return o
}

// brief bounds what a daemon does that cannot reach its store.
func brief() map[string]any {
	return map[string]any{"timeouts": map[string]any{"commit": "8s", "clean": "3s"}}
}

// uploading is the outcome in the phases in which bytes move.
func uploading(o outcome) map[phase]outcome { return everyPhase(o, beforeOpen, firstBytes, middle) }

// committing is the outcome when all bytes are there.
func committing(o outcome) map[phase]outcome { return everyPhase(o, afterEOF, duringCommit) }

func refused(words string) outcome {
	return outcome{state: job.StateFailed, code: job.CodeUpload, words: words}
}

func uncommitted(words string) outcome {
	return outcome{state: job.StateLost, code: job.CodeCommit, words: words}
}

func unusable(words string) outcome {
	return outcome{state: job.StateFailed, code: job.CodeStoreUnusable, words: words}
}

// storeFaults are what a store may answer.
func storeFaults() []faultRow {
	return slices.Concat(storms(), refusals(), badAnswers(), badCompletions())
}

// storms pass, or do not.
func storms() []faultRow {
	slowDown := faultys3.Refuse(http.StatusServiceUnavailable, "SlowDown")
	return []faultRow{
		{
			fault: "`503 SlowDown`, 4 times", where: atStore,
			inject:   answer(first(4, anything), slowDown),
			outcomes: everyPhase(absorbed(), phases()...),
		},
		{
			fault: "`500 InternalError`, 4 times", where: atStore,
			inject:   answer(first(4, ofStreams), faultys3.Refuse(http.StatusInternalServerError, "InternalError")),
			outcomes: everyPhase(absorbed(), middle, duringCommit),
		},
		{
			fault: "`503 SlowDown` for longer than `store.outageTolerance`", where: atStore,
			config:   brief(),
			inject:   answer(anything, slowDown),
			outcomes: outage("SlowDown", "503"),
		},
		{
			fault: "`503 SlowDown` for parts only, for longer than `store.outageTolerance`", where: atStore,
			inject:   answer(parts, slowDown),
			outcomes: uploading(named(refused("SlowDown"))),
		},
		{
			fault: "silence after each part, for longer than `store.outageTolerance`", where: atStore,
			inject:   answer(parts, faultys3.BlackHole),
			outcomes: uploading(named(refused("silent"))),
		},
		{
			fault: "silence after a part, once", where: atStore,
			config:   map[string]any{"store": map[string]any{"stallTimeout": "1s", "outageTolerance": "10s"}},
			inject:   answer(first(1, parts), faultys3.BlackHole),
			outcomes: uploading(absorbed()),
		},
		{
			fault: "each answer takes 300 ms", where: atStore,
			inject:   answer(anything, faultys3.Delay(300*time.Millisecond)),
			outcomes: everyPhase(absorbed(), atPlan, middle),
		},
	}
}

// patient lets the daemon wait for a store that comes back.
func patient() map[string]any {
	return map[string]any{"store": map[string]any{"outageTolerance": "1m"}, "timeouts": map[string]any{"commit": "1m"}}
}

// rotate makes the store refuse the key in use, and gives the daemon another
// one some time after that was noticed.
func rotate(status int, after time.Duration) func(*faultCase) {
	return func(c *faultCase) {
		expired := func(accessKey string) bool { return accessKey == s3Access }
		rule := c.add(anything, faultys3.RefuseWhile(expired, status, "ExpiredToken"))
		c.proceed()
		await(c.t, "the store refuses the credentials", rule.Reached())
		time.Sleep(after)
		c.putSecrets("second", s3SecondAccess, s3SecondSecret)
	}
}

// refusals last until somebody mends something.
func refusals() []faultRow {
	expired := faultys3.Refuse(http.StatusForbidden, "ExpiredToken")
	quota := faultys3.Refuse(http.StatusForbidden, "QuotaExceeded")
	return []faultRow{
		{
			fault: "`400 ExpiredToken`, and the secret is replaced at once", where: atStore,
			config:   patient(),
			inject:   rotate(http.StatusBadRequest, 0),
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF, duringCommit),
		},
		{
			fault: "`403 ExpiredToken`, and the secret is replaced 5 s later", where: atStore,
			config:   patient(),
			inject:   rotate(http.StatusForbidden, 5*time.Second),
			outcomes: everyPhase(absorbed(), middle, afterEOF, duringCommit),
		},
		{
			fault: "`403 ExpiredToken`, and no new credentials come", where: atStore,
			config:   brief(),
			inject:   answer(anything, expired),
			outcomes: outage("ExpiredToken", "403"),
		},
		{
			fault: "`403 AccessDenied` for parts", where: atStore,
			inject:   answer(parts, faultys3.Refuse(http.StatusForbidden, "AccessDenied")),
			outcomes: uploading(refused("AccessDenied")),
		},
		{
			fault: "`403 AccessDenied` for parts, and for their removal", where: atStore,
			config: brief(),
			inject: func(c *faultCase) {
				denied := faultys3.Refuse(http.StatusForbidden, "AccessDenied")
				c.add(parts, denied)
				c.add(aborts, denied)
			},
			outcomes: everyPhase(named(refused("AccessDenied")), middle),
		},
		{
			fault: "`403 AccessDenied` for everything", where: atStore,
			inject:   answer(anything, faultys3.Refuse(http.StatusForbidden, "AccessDenied")),
			outcomes: everyPhase(unusable("AccessDenied"), atPlan),
		},
		{
			fault: "`403 QuotaExceeded`", where: atStore,
			inject: func(c *faultCase) {
				c.add(faultys3.Match{Kinds: []faultys3.Kind{faultys3.Part, faultys3.Complete}}, quota)
			},
			outcomes: map[phase]outcome{
				atPlan: unusable("QuotaExceeded"), firstBytes: refused("QuotaExceeded"), middle: refused("QuotaExceeded"),
				afterEOF: uncommitted("QuotaExceeded"), duringCommit: uncommitted("QuotaExceeded"),
			},
		},
		{
			fault: "`507 InsufficientStorage` for parts", where: atStore,
			inject:   answer(parts, faultys3.Refuse(http.StatusInsufficientStorage, "InsufficientStorage")),
			outcomes: everyPhase(named(refused("InsufficientStorage")), firstBytes, middle),
		},
	}
}

// badAnswers are wrong in what they say.
func badAnswers() []faultRow {
	return []faultRow{
		{
			fault: "the connection is reset in the middle of a part, 3 times", where: atStore,
			inject:   answer(first(3, parts), faultys3.Reset),
			outcomes: uploading(absorbed()),
		},
		{
			fault: "the answer to a part is lost", where: atStore,
			inject:   answer(first(1, parts), faultys3.LoseAnswer),
			outcomes: uploading(absorbed()),
		},
		{
			fault: "a part is damaged on its way, twice", where: atStore,
			inject:   answer(first(2, parts), faultys3.DamageRequest),
			outcomes: uploading(absorbed()),
		},
		{
			fault: "a wrong ETag for a part", where: atStore,
			inject:   answer(first(1, parts), faultys3.WrongETag),
			outcomes: uploading(uncommitted("InvalidPart")),
		},
		{
			fault: "half a list of objects", where: atStore,
			inject:   answer(lists, faultys3.Truncate),
			outcomes: everyPhase(unusable("list"), atPlan),
		},
		{
			fault: "the connection breaks off in a list of objects", where: atStore,
			inject:   answer(lists, faultys3.BreakOff),
			outcomes: everyPhase(unusable("list"), atPlan),
		},
	}
}

// badCompletions are faults of the moment in which objects become visible.
func badCompletions() []faultRow {
	at := func(o outcome) map[phase]outcome { return everyPhase(o, duringCommit) }
	return []faultRow{
		{
			fault: "`403 AccessDenied` for a completion", where: atStore,
			inject:   answer(completions, faultys3.Refuse(http.StatusForbidden, "AccessDenied")),
			outcomes: committing(uncommitted("AccessDenied")),
		},
		{
			fault: "status 200 with `InternalError` in the body of a completion, twice", where: atStore,
			inject:   answer(first(2, completions), faultys3.ErrorInside("InternalError")),
			outcomes: committing(absorbed()),
		},
		{
			fault: "status 200 with `InternalError` in the body of each completion", where: atStore,
			inject:   answer(completions, faultys3.ErrorInside("InternalError")),
			outcomes: at(uncommitted("InternalError")),
		},
		{
			fault: "status 200 with `AccessDenied` in the body of each completion", where: atStore,
			inject:   answer(completions, faultys3.ErrorInside("AccessDenied")),
			outcomes: at(uncommitted("AccessDenied")),
		},
		{
			fault: "the answer to a completion is lost", where: atStore,
			inject:   answer(first(1, completions), faultys3.LoseAnswer),
			outcomes: committing(absorbed()),
		},
		{
			fault: "the answer to every completion is lost", where: atStore,
			inject:   answer(completions, faultys3.LoseAnswer),
			outcomes: at(absorbed()),
		},
		{
			fault: "a wrong ETag for a completed object", where: atStore,
			inject:   answer(completions, faultys3.WrongETag),
			outcomes: at(absorbed()),
		},
		{
			fault: "the store does not show an object that it has completed", where: atStore,
			inject:   answer(looks, faultys3.Refuse(http.StatusNotFound, "NotFound")),
			outcomes: at(uncommitted("does not show")),
		},
		{
			fault: "`403 AccessDenied` for the manifest", where: atStore,
			inject:   answer(ofTheManifest, faultys3.Refuse(http.StatusForbidden, "AccessDenied")),
			outcomes: at(outcome{state: job.StateLost, code: job.CodeUnwritten, words: "AccessDenied"}),
		},
		{
			fault: "the answer to the completion of the manifest is lost", where: atStore,
			inject:   answer(ofTheManifest, faultys3.LoseAnswer),
			outcomes: at(absorbed()),
		},
	}
}
