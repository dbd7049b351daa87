// Package statement reads the SQL that the simulator itself understands:
// backup, recovery and administration. It knows nothing of what they do.
package statement
