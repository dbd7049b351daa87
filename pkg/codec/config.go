package codec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Off is the Config.Compression that is none.
const Off = "off"

// Config says what is done to HANA's bytes. The zero value leaves them alone.
type Config struct {
	// Compression is Off or the name of a level of zstd: fastest, default, better
	// or best. Empty means Off.
	Compression string
	// Recipients are age's X25519 recipients ("age1…"). Each of them can decrypt.
	Recipients []string
	// RecipientsFile has further ones, one a line, as for age -R. It is read by
	// New.
	RecipientsFile string
	// IdentityFile has identities, as for age -i. It is read whenever a stream is
	// decrypted, so it need not be there before, and its content is not kept.
	IdentityFile string
	// Streams is how many uploads must be able to run at once (32).
	Streams int
	// Metrics, when set, are counted.
	Metrics *Metrics
}

// On says whether anything is done to a stream.
func (c Config) On() bool { return c.compresses() || c.encrypts() }

func (c Config) compresses() bool { return c.Compression != "" && c.Compression != Off }

func (c Config) encrypts() bool { return len(c.Recipients) > 0 || c.RecipientsFile != "" }

// Memory is how many bytes uploads take at most, all together; see the package
// comment.
func (c Config) Memory() int64 {
	if !c.On() {
		return 0
	}
	size := int64(c.streams()+more()) * blockSize
	if c.compresses() {
		size = 2*size + int64(workers())*encoderSize(c.Compression)
	}
	return size
}

// streams is how many blocks are there to be reserved.
func (c Config) streams() int {
	if c.Streams == 0 {
		return 32
	}
	return c.Streams
}

// workers is how many blocks are compressed at once. Eight are faster than a pipe
// at the levels that serve (measured: 0.29 GiB/s each at level fastest).
func workers() int { return min(runtime.GOMAXPROCS(0), 8) }

// more is how many blocks there are beside those that are reserved.
func more() int { return 2 * workers() }

// encoderSize is what an encoder of a level takes for our blocks, as measured with
// v1.20.3.
func encoderSize(level string) int64 {
	switch level {
	case "fastest":
		return 3 << 20
	case "default":
		return 4 << 20
	case "better":
		return 7 << 20
	default:
		return 37 << 20
	}
}

// encoding is what objects say of what c does.
func (c Config) encoding() []string {
	var steps []string
	if c.compresses() {
		steps = append(steps, backup.EncodingZstd)
	}
	if c.encrypts() {
		steps = append(steps, backup.EncodingAge)
	}
	return steps
}

// newEncoder makes the encoder that all streams share.
func (c Config) newEncoder() (*zstd.Encoder, error) {
	known, level := zstd.EncoderLevelFromString(c.Compression)
	if !known {
		return nil, fmt.Errorf("compression %q: expected off, fastest, default, better or best", c.Compression)
	}
	// A block is one frame and is never longer than the window.
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(blockSize), zstd.WithEncoderConcurrency(workers()))
}

// recipients reads those that c names.
func (c Config) recipients() ([]age.Recipient, error) {
	var all []age.Recipient
	for i, text := range c.Recipients {
		parsed, err := age.ParseX25519Recipient(text)
		if err != nil { // its text has the recipient in it, which may be an identity by mistake
			return nil, fmt.Errorf("encryption.recipients: recipient %d: expected an X25519 recipient of age (age1…)", i+1)
		}
		all = append(all, parsed)
	}
	if c.RecipientsFile == "" {
		return all, nil
	}
	text, err := readLimited(c.RecipientsFile)
	if err != nil {
		return nil, fmt.Errorf("encryption.recipientsFile: %w", err)
	}
	parsed, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("encryption.recipientsFile: %s: %w", c.RecipientsFile, err)
	}
	for i, r := range parsed {
		if _, is := r.(*age.X25519Recipient); !is {
			// Others need an age of 2025 or later, and cannot be mixed with these.
			return nil, fmt.Errorf("encryption.recipientsFile: %s: recipient %d: expected X25519 (age1…)", c.RecipientsFile, i+1)
		}
	}
	return append(all, parsed...), nil
}

// identities reads those that decrypt. That there are none is an ErrNoIdentity.
func (c Config) identities() ([]age.Identity, error) {
	if c.IdentityFile == "" {
		return nil, fmt.Errorf("%w: encryption.identityFile is not set", backup.ErrNoIdentity)
	}
	text, err := readLimited(c.IdentityFile)
	if err != nil {
		return nil, fmt.Errorf("%w: encryption.identityFile: %w", backup.ErrNoIdentity, err)
	}
	identities, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		// The text of err may have a line of the file in it, and that is a secret.
		return nil, fmt.Errorf("%w: encryption.identityFile: %s holds no identities of age (AGE-SECRET-KEY-1…), one a line", backup.ErrNoIdentity, c.IdentityFile)
	}
	return identities, nil
}

// keyFileLimit bounds a file with recipients or identities.
const keyFileLimit = 1 << 20

func readLimited(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(file, keyFileLimit+1))
	if err == nil && len(text) > keyFileLimit {
		err = fmt.Errorf("%s: expected at most %d bytes", path, keyFileLimit)
	}
	return string(text), errors.Join(err, file.Close())
}
