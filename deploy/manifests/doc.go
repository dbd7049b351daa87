// Package manifests builds the manifests below deploy/k8s and judges them: that
// Kubernetes knows every field, and that what they say of the daemon is what the
// daemon says of itself. It is a module of its own, which keeps the libraries of
// Kubernetes out of the daemon's.
package manifests
