// Package access knows who calls and what they may do. It proves identities by
// bearer tokens, client certificates, Kubernetes' TokenReview and the
// credentials of a Unix socket's peer, gives each identity a role, and bounds
// how often one may ask or guess.
//
// An identity is text with its origin in front, so that two ways of proving one
// can never be taken for each other:
//
//	token                              the token in http.tokenFile
//	token:<name>                       a token in http.tokens
//	certificate:<common name>          a verified client certificate
//	serviceaccount:<namespace>/<name>  a token that TokenReview has confirmed
//	uid:<number>                       the peer of a Unix socket
//
// Whatever goes wrong, the answer is no.
package access
