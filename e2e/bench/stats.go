package main

import (
	"cmp"
	"slices"
)

// spread is what several runs gave.
type spread struct{ median, least, most float64 }

// spreadOf returns the spread of at least one value.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s := spread{median: sorted[middle], least: sorted[0], most: sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		s.median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s
}

// pairs divides each value by the base's of the same round.
func pairs(values, base []float64) []float64 {
	ratios := make([]float64, 0, len(values))
	for n := range min(len(values), len(base)) {
		ratios = append(ratios, values[n]/base[n])
	}
	return ratios
}

// row is the result of one client in one scenario.
type row struct {
	client string
	// throughput in MiB per second, cpu in seconds per GiB, peak in MiB.
	throughput, cpu, peak spread
	// faster and cheaper are the ratios of throughput and cpu to the baseline.
	faster, cheaper spread
}

// summarize makes a row of each client's measurements, which moved bytes each.
func summarize(names []string, measured map[string][]measurement, base string, bytes int64) []row {
	columns := func(name string) (throughput, cpu, peak []float64) {
		for _, m := range measured[name] {
			throughput = append(throughput, float64(bytes)/(1<<20)/m.wall.Seconds())
			cpu = append(cpu, m.cpu.Seconds()*(1<<30)/float64(bytes))
			peak = append(peak, float64(m.peak)/(1<<20))
		}
		return throughput, cpu, peak
	}
	baseThroughput, baseCPU, _ := columns(base)
	var rows []row
	for _, name := range names {
		throughput, cpu, peak := columns(name)
		r := row{client: name, throughput: spreadOf(throughput), cpu: spreadOf(cpu), peak: spreadOf(peak)}
		if len(baseThroughput) > 0 {
			r.faster, r.cheaper = spreadOf(pairs(throughput, baseThroughput)), spreadOf(pairs(cpu, baseCPU))
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return -cmp.Compare(a.throughput.median, b.throughput.median) })
	return rows
}
