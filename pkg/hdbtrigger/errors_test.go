package hdbtrigger

import (
	"context"
	"crypto/x509"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
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

func TestHint(t *testing.T) {
	refused := &connectError{"localhost:39013", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}
	hana := func(code int, inner ...int) error {
		return fmt.Errorf("stage: %w", &backup.HANAError{Code: code, Inner: inner, Statement: kindBackup})
	}
	tests := []struct {
		name string
		err  error
		want string // a part of it; "" for none
	}{
		{"wrong password", hana(10), "password file"},
		{"privilege", hana(258), "CATALOG READ"},
		{"forced change", hana(414), "NO FORCE_FIRST_PASSWORD_CHANGE"},
		{"locked", hana(416), "RESET CONNECT ATTEMPTS"},
		{"inner code knows more than the outer", hana(447, 2000008), "reader of a pipe"},
		{"the first known inner code counts", hana(447, 99, 2000004), "O_DIRECT"},
		{"unknown inner code", hana(447, 99), "backup.log"},
		{"recovery", hana(448), "tenant is down"},
		{"strategy", hana(449, 111014), "right system"},
		{"strategy alone", hana(449), "catalog and backups"},
		{"refused connection", refused, "secondary site"},
		{"certificate", &connectError{"h:1", x509.UnknownAuthorityError{}}, "root CA file"},
		{"unknown code", hana(2048), ""},
		{"cancelled", context.Canceled, ""},
		{"busy has its own words", backup.ErrBusy, ""},
		{"nil", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Hint(tt.err)
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q, expected %q in it", got, tt.want)
			}
		})
	}
}

func TestEveryHintIsOneSentenceAndUnique(t *testing.T) {
	seen := map[int]bool{}
	for _, h := range append(innerHints(), outerHints()...) {
		if seen[h.code] {
			t.Errorf("code %d appears twice", h.code)
		}
		seen[h.code] = true
		if !strings.HasSuffix(h.text, ".") || strings.Contains(h.text, ". ") {
			t.Errorf("code %d: not one sentence: %s", h.code, h.text)
		}
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
