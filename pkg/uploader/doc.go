// Package uploader is the store: it carries streams to objects and back. It is
// the only package that imports rclone, which it drives as a library; rclone
// promises no stable interface (its issue 361), so the version is pinned and
// the suite in storetest runs against every kind of backend.
//
// # Two lanes
//
// The chunk lane (s3, azureblob) owns the multipart upload: parts are read
// straight into part buffers, sent by a bounded set of workers, and tried again
// one by one, so an outage of the store is absorbed by back-pressure. Complete
// is called by Commit alone.
//
// On s3 multipart uploads and reads of parts bypass rclone (direct.go), whose
// backend makes an MD5 of every part and a second SHA-256 over plain HTTP: the AWS
// SDK is used as rclone uses it, with the same options and credentials. Over TLS
// the store compares the CRC-64/NVME of each part; without TLS, and where the store
// does not say that it will, each request is signed with the SHA-256 of its part.
// Everything else is asked of rclone. So are uploads with an option or a provider
// that direct.go does not know; New logs which.
//
// The partial lane serves every other backend, and crypt, which hides its
// backend's multipart interface. It streams to a private key below
// ".pipestreamer/partial/" and moves (or copies) the object inside the store at
// Commit. A stream cannot be rewound there, so only what rclone retries by
// itself is retried. b2 is in this lane because a B2 large file needs two parts
// or more (backend/b2/b2.go), which a short stream does not have. Backends that
// cannot stream, or can neither move nor copy, are refused by New.
//
// Nothing is visible at a key before Commit in either lane. Commit refuses a key
// that holds an object. On s3 the store itself refuses it too ("If-None-Match"),
// once Check has seen that this store honours the header.
//
// # Memory
//
// All uploads and downloads of a Store share one budget:
//
//	reserved by an upload     2 × part size
//	reserved by a download    1 × its largest part
//	more parts in flight      up to Concurrency (+1 being filled), only while
//	                          the budget has room
//	fetched ahead by all      ≤ MemoryBudget / 2, since a reader may be left
//	                          alone for ever with what was fetched for it
//	sum of all                ≤ MemoryBudget, always
//	largest part size         MemoryBudget / (2 × Streams), at least 5 MiB
//
// With the defaults of 512 MiB and 32 streams a part has at most 8 MiB; fewer
// streams or a larger budget give larger parts. Every upload can always fill one
// buffer while another is being sent, so Streams uploads at once never wait for
// each other. The buffers lie outside of Go's heap and take what they are; the
// formula for the whole process is
//
//	48 MiB + the buffers above, and up to 2 parts for manifests and the like
//
// Outside the budget rclone, where it makes the uploads, takes 1 MiB for each part
// in flight (its checksum buffer), and a connection about 300 KiB. In the partial
// lane over s3, azureblob and b2 (that is, below crypt) rclone's own two buffers
// of one part each are what Begin reserves.
//
// # Outages
//
// A part, a further segment and a completion are asked for again, with every
// part kept, while the store refuses connections, breaks them, answers 5xx,
// swallows requests, or its name is unknown. Attempts go on for OutageTolerance,
// and there are always two: a process that was stopped has not seen an outage.
// The last one begins after at most another pause of 22 s and ends when nothing
// has moved for StallTimeout; rclone's own pauses of up to 2 s for each request
// that waits (lib/pacer) are on top. The error names the part, its bytes in the stream,
// the time, and what failed last. What Begin and the others ask that no stream
// depends on is tried for 20 s. azureblob repeats inside rclone: its attempts
// end with OutageTolerance, and UploadOptions.Trouble is not told of them.
//
// When its context ends, Consume returns without waiting for the store. Abort
// waits for a store that does nothing for at most 5 s, or 2.5 s after trouble;
// then it returns an error, and AbortLeft and Sweep remove what stays.
//
// After an answer to a completion was lost, an object at the key is ours if it
// has the size and, on s3, the id of the upload in its metadata
// ("pipestreamer-upload"); where it has none, every part is read and compared.
//
// # Bandwidth
//
// Config.Bandwidth, replaced by Store.Limit, holds back the bodies of parts as
// they are sent and of ranges as they are read. Streams take turns of equal
// size, so each gets the same. rclone reads a part before it sends it, for
// checksums, and tells which reading is the one that is sent (lib/pool,
// DelayAccountinger); the others are not held back. The wait is never taken for
// silence of the store, but rclone's own connections end when nothing has moved
// for StallTimeout: with 128 parts on their way at 64 KiB/s each still moves
// every 2 s. A limit has to let MemoryBudget pass within OutageTolerance: what is
// repeated inside rclone has no longer for a part.
//
// # Credentials
//
// When a store of type s3 refuses its credentials, Config.Refresh is asked for
// those of now. If access_key_id, secret_access_key or session_token are others,
// the request is made again with them and nothing of a stream is lost. If not, a
// stream waits for up to 3 minutes, but never longer than OutageTolerance; what
// no stream depends on fails at once. Credentials that the SDK finds by itself
// (env_auth, web identity) it also refreshes by itself.
//
// Below crypt the credentials are looked at before a stream; one that is on its
// way when they are refused fails. Every other type of store keeps the secrets
// with which it was opened: restart the daemon after a change.
//
// # What was tested
//
// The suite in storetest passes on local, s3 (versitygw), azureblob (azurite),
// googlecloudstorage (fake-gcs-server), swift (swifttest), webdav, sftp, and
// crypt over local and over s3. There is no b2 server to test against: b2 is
// linked and untested. What does not hold everywhere:
//
//	azureblob  Uncommitted blocks can be neither listed nor removed one by one;
//	           Azure drops them after 7 days. rclone repeats a failed part
//	           itself, from the tenth part on after any error: a right that is
//	           withdrawn then fails the upload after OutageTolerance.
//	crypt/s3   With encrypted names, Sweep cannot tell the multipart uploads of a
//	           prefix apart.
//	webdav     rclone streams to the vendors fastmail, owncloud and rclone only.
//	swift      storage_policy has to be given.
//	local      A commit is a rename and nothing is flushed to the disk.
package uploader
