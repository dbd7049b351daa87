package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// The shape of the plot, in its own units.
const (
	lineHeight = 18
	groupSpace = 26
	barWidth   = 250
)

//go:embed plot.svg.tmpl
var plotTemplate string

// plot is what the template shows: a group of bars for each scenario. Each group
// has its own scale, because no common one fits a simulated network and a pipe.
type plot struct {
	Height int
	Groups []group
}

type group struct {
	Y    int
	Name string
	Bars []bar
}

// bar is one client: its throughput, and to the right its CPU time.
type bar struct {
	Y        int
	Name     string
	Measures []measure
}

// measure is a median as a bar of Width from X on, and the spread as a line.
type measure struct {
	Class, Value          string
	X, Width, Least, Most float64
}

// draw makes an SVG of the results. Scenarios for memory are left out, and the
// limit of the pipe, beside which all else would look alike.
func draw(results []*result) ([]byte, error) {
	p := plot{Height: 60}
	for _, r := range results {
		if r.scenario.memory {
			continue
		}
		g := group{Y: p.Height, Name: r.scenario.name()}
		var throughput, cpu float64
		rows := slices.DeleteFunc(slices.Clone(r.rows), func(r row) bool { return r.client == pipeLimit })
		for n := range rows {
			throughput = max(throughput, rows[n].throughput.most)
			cpu = max(cpu, rows[n].cpu.most)
		}
		for n := range rows {
			row := &rows[n]
			g.Bars = append(g.Bars, bar{Y: g.Y + (n+1)*lineHeight - 4, Name: row.client, Measures: []measure{
				row.throughput.measure(class(row.client), "%.0f", 160, throughput),
				row.cpu.measure(class(row.client), "%.2f", 560, cpu),
			}})
		}
		p.Groups = append(p.Groups, g)
		p.Height += (len(rows)+1)*lineHeight + groupSpace
	}
	shape, err := template.New("plot").Parse(plotTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = shape.Execute(&out, p)
	return out.Bytes(), err
}

// measure draws s from x on, on a scale that ends with most.
func (s spread) measure(class, format string, x, most float64) measure {
	unit := barWidth / most
	return measure{
		Class: class, Value: fmt.Sprintf(format, s.median),
		X: x, Width: s.median * unit, Least: x + s.least*unit, Most: x + s.most*unit,
	}
}

// class is the colour of a client.
func class(client string) string {
	for _, name := range []string{"pipestreamer", "rclone", "aws"} {
		if strings.HasPrefix(client, name) {
			return name
		}
	}
	return "limit"
}
