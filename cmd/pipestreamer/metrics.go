package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registerProcess(registry)
	return registry
}

// registerProcess registers what is known of any process, and what runs.
func registerProcess(registry prometheus.Registerer) {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "pipestreamer", Name: "build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": versionText(), "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}
