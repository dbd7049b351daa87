// Package image holds the recipe of the container image (build, Containerfile) and
// what checks the result: "make image-check".
package image
