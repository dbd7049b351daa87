package hdbtrigger

import (
	"context"
	"crypto/x509"
	sqldriver "database/sql/driver"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

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
		{"unreachable", &connectError{"h:1", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}}, "filters packets"},
		{"silence", translate(kindBackup, fmt.Errorf("%w: %w", sqldriver.ErrBadConn, syscall.ETIMEDOUT)), "stopped answering"},
		{"cut", translate(kindBackup, fmt.Errorf("%w: %w", sqldriver.ErrBadConn, io.EOF)), "only the backup catalog"},
		{"reset", translate(kindRecover, fmt.Errorf("%w: %w", sqldriver.ErrBadConn, syscall.ECONNRESET)), "cut while"},
		{"a cut question is asked again", translate(kindSelect, io.EOF), ""},
		{"an inner code as an outer one", hana(2000004), ""},
		{"an outer code as an inner one", hana(447, 258), "backup.log"},
		{"somebody else's refused connection", fmt.Errorf("put object: %w", syscall.ECONNREFUSED), ""},
		{"somebody else's certificate", fmt.Errorf("put object: %w", x509.UnknownAuthorityError{}), ""},
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

// Every code that vendors' guides, SAP's KBAs or a backup.log show for backups
// and recoveries is known, each once, with one sentence of advice.
func TestKnownCodes(t *testing.T) {
	type key struct {
		code  int
		inner bool
	}
	known := map[key]KnownCode{}
	for _, k := range KnownCodes() {
		if _, twice := known[key{k.Code, k.Inner}]; twice {
			t.Errorf("code %d appears twice", k.Code)
		}
		known[key{k.Code, k.Inner}] = k
		if !strings.HasSuffix(k.Hint, ".") || strings.Contains(k.Hint, ". ") {
			t.Errorf("code %d: not one sentence: %s", k.Code, k.Hint)
		}
		if k.Text == "" || strings.ContainsAny(k.Text+k.Hint, "|\n") || (k.Basis != Seen && k.Basis != Remembered) {
			t.Errorf("code %d does not fit into a table: %+v", k.Code, k)
		}
		if k.Inner && len(innerCodes(447, "["+strconv.Itoa(k.Code)+"] x")) != 1 {
			t.Errorf("code %d would not be found in a text", k.Code)
		}
	}
	for _, code := range []int{2, 10, 257, 258, 259, 362, 414, 416, 447, 448, 449, -10104, -10709} {
		if _, found := known[key{code, false}]; !found {
			t.Errorf("code %d is not known", code)
		}
	}
	for _, code := range []int{2000004, 2000008, 89006, 110088, 110203, 110507, 111004, 111014, 301102, 301153, 1000002, 8022830, 71000018} {
		if _, found := known[key{code, true}]; !found {
			t.Errorf("inner code %d is not known", code)
		}
	}
}
