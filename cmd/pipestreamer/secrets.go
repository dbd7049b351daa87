package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

// readSecrets reads the files of store.secrets as they are now: a mounted secret
// changes while the daemon runs. Its errors name keys and files, never a value.
func readSecrets(files map[string]string) (map[string]string, error) {
	values := make(map[string]string, len(files))
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		secret, err := config.ReadSecret(files[name])
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("store.secrets.%s: %w", name, err))
		case secret.Empty():
			faults = append(faults, fmt.Errorf("store.secrets.%s: %s is empty", name, files[name]))
		default:
			values[name] = secret.Reveal()
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return values, nil
}
