// Package nulls3 is an S3 server that forgets: it takes uploads of any size,
// remembers how large they were and throws their bytes away. It exists to
// measure what the daemon needs for a stream that no disk of a test machine
// would hold, and where the limit on the number of parts bites. It proves
// nothing about correctness: it checks no signature, every bucket exists, and
// what it has thrown away can be read back only as bytes that it was given
// beforehand. For that the tests run a real S3 server. It can pretend to be far
// away: with TLS, a delay of each request and a rate of each connection.
//
// It answers what rclone's s3 backend asks with provider "Other": the multipart
// calls, PUT, GET, HEAD and DELETE of an object, both versions of ListObjects,
// and ListMultipartUploads. Listings are never truncated. Like S3 it honours
// "If-None-Match: *" and refuses parts below 5 MiB that are not the last.
package nulls3
