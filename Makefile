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
test e2e cover: export CGO_ENABLED := 1

TESTFLAGS := -race -shuffle=on -timeout 28m

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
tools: bin/versitygw bin/rclone bin/fake-gcs-server bin/toxiproxy bin/age

bin/versitygw: e2e/s3server/go.mod e2e/s3server/go.sum
	@$(GO) build -C e2e/s3server -o ../../bin/versitygw github.com/versity/versitygw/cmd/versitygw

bin/fake-gcs-server: e2e/gcsserver/go.mod e2e/gcsserver/go.sum
	@$(GO) build -C e2e/gcsserver -o ../../bin/fake-gcs-server github.com/fsouza/fake-gcs-server

bin/toxiproxy: e2e/toxiproxy/go.mod e2e/toxiproxy/go.sum
	@$(GO) build -C e2e/toxiproxy -o ../../bin/toxiproxy github.com/Shopify/toxiproxy/v2/cmd/server

bin/age: e2e/agetool/go.mod e2e/agetool/go.sum
	@$(GO) build -C e2e/agetool -o ../../bin/age filippo.io/age/cmd/age

bin/rclone: e2e/rclone/main.go e2e/rclone/go.mod e2e/rclone/go.sum
	@$(GO) build -C e2e/rclone -o ../../bin/rclone .

.PHONY: test
test: tools ## all tests, race detector on, end to end included; prints the coverage
	@$(GO) test $(TESTFLAGS) -coverprofile=$(COVER) ./...
	@CGO_ENABLED=0 $(GO) test -C deploy -shuffle=on ./...
	@$(call total)

.PHONY: e2e
e2e: tools ## only the end-to-end tests: the compiled daemon, the simulator, a real S3 server
	@$(GO) test $(TESTFLAGS) -count=1 ./e2e/...

# The end-to-end tests run a daemon that counts, too.
.PHONY: cover
cover: tools ## like test, with what the compiled daemon ran, and the coverage of every function
	@rm -rf bin/covdata && mkdir -p bin/covdata
	@CGO_ENABLED=0 $(GO) build -cover -covermode=atomic -coverpkg=./cmd/...,./internal/...,./pkg/... -o bin/pipestreamer-cover ./cmd/pipestreamer
	@E2E_PIPESTREAMER=$(CURDIR)/bin/pipestreamer-cover GOCOVERDIR=$(CURDIR)/bin/covdata $(GO) test $(TESTFLAGS) -coverprofile=$(COVER) ./...
	@$(GO) tool covdata textfmt -i=bin/covdata -o bin/covdata.txt && tail -n +2 bin/covdata.txt >> $(COVER)
	@$(call total) > /dev/null
	@$(GO) tool cover -func=$(COVER)

# total keeps the lines of the product in the profile and prints their sum.
define total
{ head -n 1 $(COVER); grep -E '/(cmd|internal|pkg)/' $(COVER); } > $(COVER).product && mv $(COVER).product $(COVER) && \
$(GO) tool cover -func=$(COVER) | awk '/^total:/ {print "coverage of statements in cmd, internal and pkg: " $$NF}'
endef

.PHONY: lint
lint: ## linters, layers included
	@$(TOOL) golangci-lint run
	@cd deploy && $(GO) tool -modfile=../tools/go.mod golangci-lint run --build-tags apiserver,image

.PHONY: fmt
fmt: ## format the Go files
	@$(TOOL) golangci-lint fmt
	@cd deploy && $(GO) tool -modfile=../tools/go.mod golangci-lint fmt

.PHONY: check
check: lint ## lint, tidy modules, generated files up to date
	@$(GO) mod tidy -diff
	@for m in tools e2e/s3server e2e/gcsserver e2e/rclone e2e/toxiproxy e2e/agetool e2e/kubeapiserver deploy; do (cd $$m && $(GO) mod tidy -diff) || exit 1; done
	@$(GO) generate ./...
	@git diff --exit-code -- docs/configuration.md || { echo 'commit what `go generate ./...` wrote' >&2; exit 1; }

# Every package with a fuzz target. What a target imports is compiled anew for
# it: that takes minutes where the tests need rclone or SQLite. CI leaves those
# out, or runs them as they are compiled for the other tests: without the guidance
# of coverage, from their seeds.
FUZZDIRS = $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n1 dirname | sort -u)
BLINDDIRS := internal/job
LIGHTDIRS := internal/config pkg/backup pkg/fifo pkg/hdbtrigger e2e/hanasim/files e2e/hanasim/statement e2e/hanasim/wire

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -e; for dir in $(FUZZDIRS); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			.ci/fuzz $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$dir; \
		done; \
	done

.PHONY: fuzz-brief
fuzz-brief: ## the fuzz targets that compile fast, and those of the conductor, for 2 s each
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2s FUZZDIRS='$(LIGHTDIRS)'
	@set -e; mkdir -p bin; for dir in $(BLINDDIRS); do \
		$(GO) test -c -o bin/fuzz.test ./$$dir; \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			(cd $$dir && $(CURDIR)/.ci/fuzz $(CURDIR)/bin/fuzz.test -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime 2s -test.fuzzcachedir $(CURDIR)/bin/fuzzcache); \
		done; \
	done

# The short forms of these two run with the other tests.
SCHEDULES ?= 10000
.PHONY: model
model: ## 10,000 seeded schedules of the conductor with faults, on a fake clock (SCHEDULES)
	@$(GO) test -count=1 -timeout 60m -run '^TestModel$$' ./internal/job -model.schedules $(SCHEDULES)

POINTS ?= 200
.PHONY: crash
crash: tools ## kill -9 the daemon at 200 seeded moments of a backup (POINTS)
	@E2E_CRASH_POINTS=$(POINTS) $(GO) test -count=1 -timeout 60m -run '^TestCrashSweep$$' -v ./e2e

.PHONY: burst
burst: tools ## 5,000 log backups while the daemon is killed ten times
	@E2E_BURST_FILES=5000 E2E_BURST_KILLS=10 $(GO) test -count=1 -timeout 60m -run '^TestLogBurst$$' -v ./e2e

.PHONY: follow
follow: tools ## a 4 GiB backup through a 512 MiB file system (as root)
	@E2E_FOLLOW_MIB=4096 $(GO) test -count=1 -timeout 60m -run '^TestFollow$$' -v ./e2e

# What is measured is a whole process, so that nothing else may run meanwhile.
# BENCH passes flags on, for example BENCH='-only up/null -runs 5' or
# BENCH='-update docs/performance.md'. Go benchmarks are apart: CONTRIBUTING.md.
BENCH ?=
.PHONY: bench
bench: tools ## measure the data path beside rclone and others; -only, -runs, -size, -full in BENCH
	@$(GO) run ./e2e/bench -bin bin $(BENCH)

.PHONY: demo
demo: build ## back up, destroy and restore a simulated tenant, with an S3 server, and compare
	@$(GO) run ./e2e/demo -bin bin

.PHONY: try
try: build ## start the simulator, an S3 server and the daemon, and leave them to you
	@$(GO) run ./e2e/demo -bin bin -try

# Needs buildah and Debian's ca-certificates; neither root nor a daemon.
.PHONY: image
image: ## the container image as an OCI archive in bin/image, with its SBOM; prints its digest
	@deploy/image/build bin/image $(VERSION)

# What is not committed is not in the second image.
.PHONY: image-check
image-check: build image ## build the image once more from a clone, compare, and run it as an overlay says (as root)
	@clone=$$(mktemp -d) && trap 'rm -rf "$$clone"' EXIT && git -c advice.detachedHead=false clone -q --shared . "$$clone/source" && \
		"$$clone/source/deploy/image/build" "$$clone/image" $(VERSION) > /dev/null && \
		$(GO) test -C deploy -tags image -count=1 ./image -image $(CURDIR)/bin/image/image.tar -again "$$clone/image/image.tar"

KUBERNETES := v1.36.3
bin/kube-apiserver: e2e/kubeapiserver/go.mod e2e/kubeapiserver/go.sum
	@$(GO) build -C e2e/kubeapiserver -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)' \
		-o ../../bin/kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver

# Not among the other tests: compiling an API server takes minutes, once.
.PHONY: k8s-check
k8s-check: bin/kube-apiserver ## show the manifests, and tokens, to a real API server (Debian's etcd-server)
	@$(GO) test -C deploy -tags apiserver -count=1 -run '^TestAPIServer$$' -v ./manifests
	@$(GO) test -tags apiserver -count=1 -run '^TestAPIServer$$' -v ./internal/access

.PHONY: node
node: e2e/node/node_modules ## install the Node client of the end-to-end tests, and what drives the browser

e2e/node/node_modules: e2e/node/package-lock.json
	@cd e2e/node && npm ci --silent --no-audit --no-fund
	@touch $@

# Chromium is used, as it is found in PATH. What is to be seen comes from the
# simulator, at the time of now: the pictures differ each time.
.PHONY: screenshots
screenshots: tools node ## docs/images: the status page during a backup, a gap, a failed job
	@mkdir -p docs/images
	@E2E_SCREENSHOTS=$(CURDIR)/docs/images CI=true $(GO) test -count=1 -run '^TestStatusPage(ForEverybody)?$$' ./e2e

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin $(COVER) e2e/node/node_modules
