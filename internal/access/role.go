package access

import "strconv"

// Role is what an identity may do. A larger one may do what a smaller one may.
type Role int

// The roles.
const (
	// NoRole may do nothing.
	NoRole Role = iota
	// Reader may look at jobs, backups and logs.
	Reader
	// Trigger may also start backups and verifications, and cancel its own.
	Trigger
	// Operator may do everything.
	Operator
)

// String gives the word that settings and messages use.
func (r Role) String() string {
	switch r {
	case Reader:
		return "reader"
	case Trigger:
		return "trigger"
	case Operator:
		return "operator"
	default:
		return "none"
	}
}

// Roles says which role an identity has. The zero value gives none to anybody.
type Roles struct{ byIdentity map[string]Role }

// NewRoles gives roles to the listed identities; of several, the largest holds.
func NewRoles(operators, triggers, readers []string) Roles {
	r := Roles{byIdentity: make(map[string]Role, len(operators)+len(triggers)+len(readers))}
	for role, identities := range map[Role][]string{Operator: operators, Trigger: triggers, Reader: readers} {
		for _, identity := range identities {
			r.byIdentity[identity] = max(r.byIdentity[identity], role)
		}
	}
	return r
}

// Of gives the role of an identity, NoRole when it was given none.
func (r Roles) Of(identity string) Role { return r.byIdentity[identity] }

// Caller is who sent a request.
type Caller struct {
	Identity string
	Role     Role
}

// identityOfUID names the peer of a Unix socket.
func identityOfUID(uid uint32) string { return "uid:" + strconv.FormatUint(uint64(uid), 10) }
