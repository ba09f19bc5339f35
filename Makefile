# make          builds bin/sendonce
# make test     everything that must pass; installs what it needs (apt-get)
# make race     the packages with goroutines, under the race detector (fewer simulated worlds)

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -s -w -X main.version=$(VERSION)
# Packages whose goroutines share memory; the rest are pure functions.
RACE     ?= ./protocol/... ./proxy/... ./daemon/... ./indexdb/... ./blobstore/... ./internal/...
FUZZTIME ?= 5s

export CGO_ENABLED ?= 0

.PHONY: all build demo test test-go test-format test-vet test-generated test-units race lint bench figures generate fuzz-short clean

all: build

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sendonce ./cmd/sendonce

# DIR=some/tree shows what sendonce saves on it; it is only read.
demo: build
	bin/sendonce demo $(DIR)

test: need test-format test-vet test-generated test-go test-units
	@echo "make test: ok"

.PHONY: need
need:
	@.ci/need git protoc:protobuf-compiler systemd-analyze:systemd

test-format:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	@echo "gofmt: ok"

test-vet:
	$(GO) vet ./...

# The generated code is what the generator makes of the definition now.
test-generated:
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	cp -r protocol/internal/pb "$$work/before" && tools/generate.sh && \
	diff -r "$$work/before" protocol/internal/pb && echo "generated code: ok"

test-go:
	$(GO) test ./...

test-units: build
	@dist/systemd/verify bin/sendonce

race:
	@.ci/need gcc
	CGO_ENABLED=1 $(GO) test -race -short $(RACE)

# staticcheck lives in a module of its own. The first run analyses every
# dependency and takes minutes, which is why it is not part of test.
lint: test-format test-vet
	cd tools/lint && $(GO) build -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Bytes, time, CPU and memory of the whole program beside rsync and restic:
# docs/benchmarks.md. ARGS="-only nochange,link" measures some rows.
figures:
	@.ci/need rsync restic zstd ip:iproute2 diff:diffutils
	$(GO) run ./bench/figures $(ARGS)

generate:
	@.ci/need protoc:protobuf-compiler
	tools/generate.sh

# Each fuzz target for FUZZTIME; go test takes one target of one package a run.
fuzz-short:
	@for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done; \
	done

clean:
	rm -rf bin
