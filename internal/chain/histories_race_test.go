//go:build race

package chain_test

// histories is less than without the race detector: nothing here runs at once.
const histories = 2_000
