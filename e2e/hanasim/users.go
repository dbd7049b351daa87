package hanasim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// The system privileges that a user has, names as in the administration guide.
const (
	backupAdmin              = "BACKUP ADMIN"
	backupOperator           = "BACKUP OPERATOR"
	catalogRead              = "CATALOG READ"
	databaseAdmin            = "DATABASE ADMIN"
	databaseBackupAdmin      = "DATABASE BACKUP ADMIN"
	databaseBackupOperator   = "DATABASE BACKUP OPERATOR"
	databaseRecoveryOperator = "DATABASE RECOVERY OPERATOR"
	databaseStart            = "DATABASE START"
	databaseStop             = "DATABASE STOP"
	inifileAdmin             = "INIFILE ADMIN"
	sessionAdmin             = "SESSION ADMIN"
)

func allPrivileges() []string {
	return []string{
		backupAdmin, backupOperator, catalogRead, databaseAdmin, databaseBackupAdmin, databaseBackupOperator,
		databaseRecoveryOperator, databaseStart, databaseStop, inifileAdmin, sessionAdmin,
	}
}

// users are the users of all databases.
type users struct {
	mu        sync.Mutex
	byName    map[string]*account
	lockAfter int // failed logins, 0 for never
}

type account struct {
	password   string
	privileges []string
	attempts   int // logins since the last that succeeded
}

func newUsers(config Config) *users {
	u := &users{byName: map[string]*account{}}
	for _, user := range append(slices.Clone(config.Users), User{Name: config.User, Password: config.Password}) {
		privileges := slices.DeleteFunc(allPrivileges(), func(p string) bool { return slices.Contains(user.Missing, p) })
		u.byName[user.Name] = &account{password: user.Password, privileges: privileges}
	}
	return u
}

// password begins a login attempt.
func (u *users) password(name string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	user := u.byName[name]
	if user == nil {
		return "", &wire.Error{Code: 10, State: "28000", Text: "authentication failed"}
	}
	if u.lockAfter > 0 && user.attempts >= u.lockAfter {
		return "", &wire.Error{Code: 416, State: "HY000", Text: "user is locked; try again later: lock time is 1440 minutes; user is locked until tomorrow"}
	}
	user.attempts++
	return user.password, nil
}

// loggedIn ends a login attempt that succeeded.
func (u *users) loggedIn(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if user := u.byName[name]; user != nil {
		user.attempts = 0
	}
}

func (u *users) names() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Keys(u.byName))
}

func (u *users) privileges(name string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if user := u.byName[name]; user != nil {
		return slices.Clone(user.privileges)
	}
	return nil
}

// require refuses a user who has none of privileges.
func (u *users) require(name string, privileges ...string) error {
	for _, has := range u.privileges(name) {
		if slices.Contains(privileges, has) {
			return nil
		}
	}
	return &wire.Error{Code: 258, State: "HY000", Text: "insufficient privilege: Detailed info for this error can be found with guid '5C6B2B3A9C0B4F4AA6E1D0D6E1B0C7F1'"}
}

// set changes the settings lock-after, unlock, grant and revoke.
func (u *users) set(key, value string) (handled bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name, privilege, _ := strings.Cut(value, ":")
	user := u.byName[name]
	switch key {
	case "lock-after":
		u.lockAfter, err = strconv.Atoi(value)
		return true, err
	case "unlock", "grant", "revoke":
		if user == nil {
			return true, fmt.Errorf("setting %s: no user %q", key, name)
		}
	default:
		return false, nil
	}
	switch {
	case key == "unlock":
		user.attempts = 0
	case !slices.Contains(allPrivileges(), privilege):
		return true, fmt.Errorf("setting %s: no privilege %q", key, privilege)
	case key == "grant":
		user.privileges = append(user.privileges, privilege)
	default:
		user.privileges = slices.DeleteFunc(user.privileges, func(p string) bool { return p == privilege })
	}
	return true, nil
}
