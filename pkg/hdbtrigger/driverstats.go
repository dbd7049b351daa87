package hdbtrigger

import (
	hdb "github.com/SAP/go-hdb/driver"
	"github.com/prometheus/client_golang/prometheus"
)

// driverStats shows the statistics that go-hdb keeps for the whole process.
type driverStats struct {
	connections, statements, read, written *prometheus.Desc
	network, login, sql                    *prometheus.Desc
}

func newDriverStats() *driverStats {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("pipestreamer", "hana_driver", name), help, labels, nil)
	}
	return &driverStats{
		connections: describe("open_connections", "Connections to HANA that are open now."),
		statements:  describe("open_statements", "Prepared statements that are open now."),
		read:        describe("read_bytes_total", "Bytes that HANA has sent over SQL connections; streams do not pass there."),
		written:     describe("written_bytes_total", "Bytes that were sent to HANA over SQL connections."),
		network:     describe("network_duration_seconds", "Time of reading from and writing to the connections.", "direction"),
		login:       describe("login_duration_seconds", "Time of logins."),
		sql:         describe("sql_duration_seconds", "Time of requests of the SQL protocol.", "request"),
	}
}

// Describe implements prometheus.Collector.
func (s *driverStats) Describe(to chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{s.connections, s.statements, s.read, s.written, s.network, s.login, s.sql} {
		to <- description
	}
}

// Collect implements prometheus.Collector.
func (s *driverStats) Collect(to chan<- prometheus.Metric) {
	stats := hdb.NewConnector().NativeDriver().Stats()
	to <- prometheus.MustNewConstMetric(s.connections, prometheus.GaugeValue, float64(stats.OpenConnections))
	to <- prometheus.MustNewConstMetric(s.statements, prometheus.GaugeValue, float64(stats.OpenStatements))
	to <- prometheus.MustNewConstMetric(s.read, prometheus.CounterValue, float64(stats.ReadBytes))
	to <- prometheus.MustNewConstMetric(s.written, prometheus.CounterValue, float64(stats.WrittenBytes))
	to <- summary(s.network, stats.ReadTime, "read")
	to <- summary(s.network, stats.WriteTime, "write")
	to <- summary(s.login, stats.AuthTime)
	for request, times := range stats.SQLTimes {
		to <- summary(s.sql, times, request)
	}
}

// summary has the sum and the count of times, which go-hdb gives in milliseconds.
func summary(of *prometheus.Desc, times *hdb.StatsHistogram, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstSummary(of, times.Count, times.Sum/1000, nil, labels...)
}
