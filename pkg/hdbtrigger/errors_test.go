package hdbtrigger

import (
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestInnerCodes(t *testing.T) {
	tests := []struct {
		name  string
		outer int
		text  string
		want  []int
	}{
		{
			"disk full while writing, from a backup.log", 447,
			`[447] backup could not be completed, [2000008] Error during asynchronous file transfer (io_getevents), rc=28: No space left on device; $fileCallback$=[W], buffer= 0x00007f9f46e14000, offset= 165893115904, size= 0/536870912, file= "<root>/.COMPLETE_PRD_2020-03-21_0200_databackup_3_1" ((open, mode= W, access= rw-r-----, flags= DIRECT|TRUNCATE|MULTI_WRITERS|UNALIGNED_SIZE), factory= (root= "/hana/backup/bkpfull/" (access= rw-r-----)) {shortRetries= 0, fullRetries= 0 (0/10)}`,
			[]int{2000008},
		},
		{"after a colon", 447, "backup could not be completed: [2000004] Cannot open file", []int{2000004}},
		{"no catalog match", 449, "recovery strategy could not be determined: [111014] The backup with backup id '1660627536506' cannot be used for recovery", []int{111014}},
		{"ambiguous log backups", 449, "recovery strategy could not be determined: [111004] Ambiguous sequence of log backups, overlapping...", []int{111004}},
		{"recovery, without a volume", 448, "[448] recovery could not be completed, volume <>, reached log position <>, [71000018] ptime::PtimeException", []int{71000018}},
		{"several", 447, "backup could not be completed, [110507] Backint exited with exit code 1 instead of 0. console output: [110203] Not all data could be written: Expected 4096 but transferred 0", []int{110507, 110203}},
		{"connection", -10709, "Connection failed (RTE:[89006] System call 'connect' failed, rc=111:Connection refused (10.7.0.82:30015))", []int{89006}},
		{"a backup id is not a code", 448, "RECOVER DATA started [1768621511068]", nil},
		{"an index is not a code", 447, "queue[35] is full, $size$=[426870912]", nil},
		{"none", 258, "insufficient privilege: Not authorized", nil},
		{"empty", 2, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, innerCodes(tt.outer, tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConnectErrorHidesWhatMakesDatabaseSQLTryAgain(t *testing.T) {
	cause := errors.New("cause")
	err := error(&connectError{"h:1", fmt.Errorf("%w: %w", sqldriver.ErrBadConn, cause)})
	if errors.Is(err, sqldriver.ErrBadConn) {
		t.Error("driver.ErrBadConn is visible")
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not visible")
	}
}

// FuzzInnerCodes: whatever HANA says, the codes found stand in its text in
// brackets and in this order, and the hint is one line.
func FuzzInnerCodes(f *testing.F) {
	f.Add(447, "[447] backup could not be completed, [2000008] Error during asynchronous file transfer (io_getevents), rc=28: No space left on device; $fileCallback$=[W]")
	f.Add(449, "recovery strategy could not be determined: [111014] The backup with backup id '1660627536506' cannot be used for recovery")
	f.Add(-10709, "Connection failed (RTE:[89006] System call 'connect' failed, rc=111")
	f.Add(448, "[1768621511068][00012]\x00 [999999999],[9999999999] [\xff10]\n[٣٣]")
	f.Fuzz(func(t *testing.T, outer int, text string) {
		codes := innerCodes(outer, text)
		rest := text
		for _, code := range codes {
			if code == outer || code < 0 {
				t.Errorf("code %d", code)
			}
			found := -1
			for _, digits := range []string{"%d", "%02d", "%03d", "%04d", "%05d", "%06d", "%07d", "%08d", "%09d"} {
				if i := strings.Index(rest, "["+fmt.Sprintf(digits, code)+"]"); i >= 0 && (found < 0 || i < found) {
					found = i
				}
			}
			if found < 0 {
				t.Fatalf("code %d of %v is not in the rest of the text, %q", code, codes, rest)
			}
			rest = rest[found+1:]
		}
		hint := Hint(&backup.HANAError{Code: outer, Inner: codes, Text: text, Statement: kindBackup})
		known := slices.ContainsFunc(KnownCodes(), func(k KnownCode) bool {
			return (!k.Inner && k.Code == outer) || (k.Inner && slices.Contains(codes, k.Code))
		})
		if (hint != "") != known || strings.Contains(hint, "\n") {
			t.Errorf("hint %q for %s", hint, strconv.Itoa(outer))
		}
	})
}
