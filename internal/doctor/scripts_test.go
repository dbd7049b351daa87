package doctor

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The scripts that create the user grant what backups and restores take, and no
// more.
func TestScriptsGrantWhatIsNeeded(t *testing.T) {
	t.Parallel()
	grants := regexp.MustCompile(`(?m)^GRANT ([A-Z ]+) TO PIPESTREAMER;$`)
	for file, version := range map[string]string{"backup-user-sps05.sql": "2.00.050.00.1592305219", "backup-user-before-sps05.sql": "2.00.048.00.1592305219"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("../../deploy/sql/" + file)
			if err != nil {
				t.Fatal(err)
			}
			var granted []string
			for _, match := range grants.FindAllStringSubmatch(string(text), -1) {
				granted = append(granted, match[1])
			}
			if found := lacking(version, granted); found != "" {
				t.Errorf("%v: %s", granted, found)
			}
			for i, privilege := range granted {
				if lacking(version, slices.Delete(slices.Clone(granted), i, i+1)) == "" {
					t.Errorf("%s is granted and not needed", privilege)
				}
			}
		})
	}
}

// lacking is what the doctor says of a user's privileges, empty when nothing is
// missing.
func lacking(version string, privileges []string) string {
	f := sound()
	for i := range f.HANA {
		f.HANA[i].Version, f.HANA[i].Privileges = version, privileges
	}
	var said []string
	for _, finding := range judgePrivileges(f) {
		if finding.Severity != OK {
			said = append(said, finding.Message)
		}
	}
	return strings.Join(said, "; ")
}
