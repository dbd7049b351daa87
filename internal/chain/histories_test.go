//go:build !race

package chain_test

// histories is how many TestPlanAgainstOracle tries, of up to about 25 files each.
const histories = 20_000
