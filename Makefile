# weft. `make help` says what there is.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
FUZZTIME ?= 10s
DIR      ?=
OUT      ?= bin
# The commit is stamped into the binary where there is one to ask for.
VCS      := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
GOFILES   = $(shell find . -name '*.go' -not -path './bin/*')

.PHONY: help build check test bench fuzz demo soak captures clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/weft: one static binary
	@mkdir -p $(OUT)
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(VCS) -ldflags '-s -w' -o $(OUT)/weft ./cmd/weft

check: ## gofmt, vet, the other systems' builds, staticcheck, the style test
	@bad=$$(gofmt -l $(GOFILES)); [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	$(GO) vet -tags soak ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) build ./...
	GOOS=windows CGO_ENABLED=0 $(GO) build ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 ./internal/style

test: build ## install what the tests need, then run every test with -race
	@internal/nettest/setup.sh test
	@mkdir -p $(OUT)
	@$(GO) build -o $(OUT)/test-summary ./internal/nettest/summary
	@$(GO) test -race -count=1 -timeout 6m -json ./... | $(OUT)/test-summary
	@$(GO) test -count=1 -timeout 6m -json ./internal/cluster ./internal/cluster/gossip | $(OUT)/test-summary

soak: ## what takes minutes: 1,000 ports, churn under traffic, a daemon killed again and again
	@internal/nettest/setup.sh test
	$(GO) test -tags soak -count=1 -timeout 20m -v -run Soak ./internal/node
	$(GO) test -tags soak -race -count=1 -timeout 20m -v -run SoakChurn ./internal/node
	$(GO) test -tags soak -count=1 -timeout 20m -v -run Soak ./internal/cluster

bench: build ## weft beside other switches, one table: docs/benchmarks.md and JSON
	@internal/nettest/setup.sh bench
	$(GO) run ./internal/nettest/bench

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "fuzz  $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p | tail -n 3; \
	  done; \
	done

demo: build ## a self-checking tour; exit 0 only if all of it held
	$(OUT)/weft demo

captures: build ## replay every capture in DIR=...: each frame accounted for, or refused by name
	@[ -d "$(DIR)" ] || { echo 'usage: make captures DIR=directory-of-captures'; exit 2; }
	WEFT_CAPTURES=$(abspath $(DIR)) $(GO) test -count=1 -timeout 30m -v -run TestCaptures ./internal/lab

clean: ## remove what was built
	rm -rf bin
