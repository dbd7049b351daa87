// Package faultys3 is a reverse proxy in front of an S3 server that lets chosen
// requests go wrong. It does what only somebody who reads the requests can do:
// refuse the third part of one object, answer a completion with an error inside
// status 200, lose an answer after the server has done its work. What can be
// done to a connection without reading it is left to a proxy for TCP.
//
// It keeps the Host header, so signatures stay valid, and changes nothing of a
// request that no rule matches.
package faultys3
