// Package notify tells a webhook what has happened: how jobs have ended, and that
// shipping logs is in trouble or well again. It never slows down or fails what it
// tells of.
//
// Requests follow the Standard Webhooks specification
// (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md): a
// POST of JSON with the headers webhook-id, which is the same for every attempt,
// webhook-timestamp, and with a secret webhook-signature ("v1," and the base64 of
// an HMAC-SHA256 over id, timestamp and body, joined by dots).
//
// A notification is kept in a file from when it was made until it has arrived, so
// that a restart does not lose it; one that was made in the moment before a crash
// may be missing, and one that has arrived in that moment comes twice, with the
// same id. Which trouble with logs was told is kept, too, so that its end is told by
// whichever process sees it.
package notify
