# Verbs of this repository; each is silent when fine. `make help` lists them.

GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
FUZZTIME ?= 10s
COVER   := coverage.out

# Static binaries; and build and lint share what they compile. Only the race
# detector needs cgo.
export CGO_ENABLED := 0
test e2e: export CGO_ENABLED := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: all
all: check test build ## everything that a change has to pass

.PHONY: build
build: tools ## bin/pipestreamer, the HANA simulator bin/hanasim and what the tests need
	@$(GO) build -ldflags '$(LDFLAGS)' -o bin/pipestreamer ./cmd/pipestreamer
	@$(GO) build -o bin/hanasim ./e2e/hanasim/cmd/hanasim

# Programs of others that the tests run; each has a module of its own, which
# keeps its dependencies out of the daemon's.
.PHONY: tools
tools: bin/versitygw bin/rclone

bin/versitygw: e2e/s3server/go.mod e2e/s3server/go.sum
	@$(GO) build -C e2e/s3server -o ../../bin/versitygw github.com/versity/versitygw/cmd/versitygw

bin/rclone: e2e/rclone/main.go e2e/rclone/go.mod e2e/rclone/go.sum
	@$(GO) build -C e2e/rclone -o ../../bin/rclone .

.PHONY: test
test: tools ## all tests, race detector on, end to end included; prints the coverage
	@$(GO) test -race -shuffle=on -timeout 20m -coverprofile=$(COVER) ./...
	@{ head -n 1 $(COVER); grep -E '/(cmd|internal|pkg)/' $(COVER); } > $(COVER).product && mv $(COVER).product $(COVER)
	@$(GO) tool cover -func=$(COVER) | awk '/^total:/ {print "coverage of statements in cmd, internal and pkg: " $$NF}'

.PHONY: e2e
e2e: tools ## only the end-to-end tests: the compiled daemon, the simulator, a real S3 server
	@$(GO) test -race -count=1 -timeout 20m ./e2e/...

.PHONY: cover
cover: test ## the tests, then the coverage of every function
	@$(GO) tool cover -func=$(COVER)

.PHONY: lint
lint: ## linters, layers included
	@$(TOOL) golangci-lint run

.PHONY: fmt
fmt: ## format the Go files
	@$(TOOL) golangci-lint fmt

.PHONY: check
check: lint ## lint, tidy modules, generated files up to date
	@$(GO) mod tidy -diff
	@for m in tools e2e/s3server e2e/rclone; do (cd $$m && $(GO) mod tidy -diff) || exit 1; done
	@$(GO) generate ./...
	@git diff --exit-code -- docs || { echo 'docs/ differs from what `go generate ./...` writes: commit it' >&2; exit 1; }

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -e; for dir in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$dir; \
		done; \
	done

.PHONY: demo
demo: build ## back up, destroy and restore a simulated tenant, with an S3 server, and compare
	@$(GO) run ./e2e/demo -bin bin

.PHONY: node
node: e2e/node/node_modules ## install the Node client of the end-to-end tests

e2e/node/node_modules: e2e/node/package-lock.json
	@cd e2e/node && npm ci --silent --no-audit --no-fund
	@touch $@

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin $(COVER) e2e/node/node_modules
