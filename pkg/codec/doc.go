// Package codec compresses and encrypts HANA's bytes on their way into a store,
// and undoes it on their way back. It lies around a store as a decorator of the
// contracts in pkg/backup, and it is the only package that imports zstd
// (klauspost/compress) and age (filippo.io/age).
//
// Only uploads with UploadOptions.Encode are encoded: manifests and indexes stay
// readable. What comes out is what the stock tools know:
//
//	3_1.zst       zstd frames, one after the other     zstd -d
//	3_1.age       one age file                         age -d -i KEY
//	3_1.zst.age   the one in the other                 age -d -i KEY | zstd -d
//
// A stream of several segments is cut anywhere: put the segments together first.
//
// # On the way in
//
// One goroutine reads the stream into blocks of 1 MiB and hashes it. With
// compression, each block becomes a frame of its own in one of the stream's
// workers: GOMAXPROCS, 8 at most. The encoders, as many, are shared by all streams.
// The goroutine of the inner Consume takes the frames in order and encrypts them.
// Block by block costs next to no ratio (measured: 1.461 at level fastest, as for
// a whole stream) and is what scales.
//
// After 4 blocks in a row that did not shrink by 3 %, blocks are passed on in
// frames that hold them as they are: 16, then one more is tried, then 32, and so
// on up to 1024. Such a frame is made without a copy. It has no checksum of zstd's,
// which would cost 0.1 CPU-seconds per GiB: the store checks each part that it reads
// against its checksum, backup.Checked the decoded stream before its last
// bytes are handed on, and age authenticates every 64 KiB. Frames that are compressed have one.
//
// # Memory
//
// Blocks are the process's, not a stream's:
//
//	reserved by an upload       1 block
//	more blocks of an upload    up to workers + 2 in all, while there are any
//	blocks                      Streams + 2 × workers
//	a block                     1 MiB, with compression 2 MiB
//	an encoder                  3 MiB; default 4, better 7, best 37
//	all of it                   blocks × a block + workers × an encoder
//
// Config.Memory gives the sum. Whoever plugs the rooms together takes it out of
// memoryBudget; the store gets the rest. A stream that is read back takes 1 MiB
// for what is decoded ahead, and a decoder of zstd 2 MiB more (16 at most, for frames
// that are not ours); that is
// outside of memoryBudget, as the inner reader's parts are inside.
package codec
