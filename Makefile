# Every command that a newcomer, an engineer or CI needs. `make` alone lists them.
#
# Standard output belongs to the program that is run: progress goes to standard error, so that `make demo | cat` ends
# with one JSON document.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/exchange

# One build directory, outside the checkout: demo, tests, lints and benches of every checkout share what is compiled.
export CARGO_TARGET_DIR ?= $(CACHE)/target
# A toolchain installed a minute ago is not yet in the PATH of this shell.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Cargo and Bitcoin Core's build share out the cores themselves; a job server of make's would only stand in their way.
.NOTPARALLEL:
unexport MAKEFLAGS

.DEFAULT_GOAL := help
.PHONY: help demo test model fuzz mutants bench sim lint fmt setup bitcoind python

# What the users run, and what the stories in tests/ start as processes of their own.
programs = cargo build --locked -p exchange-node -p exchange-tui

demo: ## a whole trade on the embedded chain: in the terminal client, or headless when piped
	@.ci/setup
	@$(programs)
	@if [ -t 0 ] && [ -t 1 ]; then exec "$$CARGO_TARGET_DIR/debug/exchange-tui" demo; \
	else exec "$$CARGO_TARGET_DIR/debug/exchange-node" demo; fi

test: bitcoind python ## every test, those against a real bitcoind and a real Electrum server too
	@$(programs)
	@bin=$$(dirname "$$(tests/bitcoind/build.sh '$(CACHE)/bitcoind')") && \
	python=$$(tests/python/build.sh '$(CACHE)/python') && \
	"$$python" tests/interop/check_vectors.py >&2 && "$$python" tests/interop/check_agreement.py >&2 && \
	"$$python" tests/interop/check_with_embit.py >&2 && "$$python" tests/interop/check_lessons.py >&2 && \
	BITCOIND="$$bin/bitcoind" BITCOIN_CLI="$$bin/bitcoin-cli" TEST_PYTHON="$$python" cargo test --locked --workspace --tests

bench: bitcoind ## the figures, one JSON line each; FIGURES="disk open" for some
	@$(programs)
	@BITCOIND="$$(dirname "$$(tests/bitcoind/build.sh '$(CACHE)/bitcoind')")/bitcoind" \
	cargo bench --locked --profile dev -p exchange-tests --bench figures -- $(FIGURES)

sim: ## SEEDS=n simulated worlds from SEED_START on, until a rule is broken in one
	@.ci/setup
	@SEEDS='$(SEEDS)' SEED_START='$(SEED_START)' cargo run --locked --quiet -p exchange-sim

model: ## the model of the trade machine, with how much of it was explored
	@.ci/setup
	@cargo test --locked -p exchange-tests --test model

# What a run finds goes into the cache; a failure is written to tests/fuzz/artifacts with the command that repeats it.
fuzz: ## every fuzz target for SECONDS each (60): needs a nightly Rust and cargo-fuzz
	@.ci/setup fuzz
	@for target in record sync machine world; do \
	found='$(CACHE)/fuzz'/$$target; mkdir -p "$$found"; \
	cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir "$$CARGO_TARGET_DIR/fuzz" \
	$$target "$$found" tests/fuzz/corpus/$$target -- \
	-max_total_time=$(or $(SECONDS),60) -max_len=4096 -timeout=30 -print_final_stats=1 || exit 1; \
	done

# Hours for all: PART="--file ledger/src/trade/escrow.rs" or PART="--shard 0/8" for some. The lists that it writes lie in the
# cache; the exit code is 0 only if a test noticed every change.
mutants: ## changes the code that moves coins, one place at a time, and names what no test notices: needs cargo-mutants
	@.ci/setup mutants
	@mkdir -p '$(CACHE)/mutants'
	@CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/mutants" cargo mutants -p exchange-ledger --output '$(CACHE)/mutants' $(PART)

lint: ## format and lints, as CI checks them
	@.ci/setup lint
	@cargo fmt --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@# The fuzz targets are a workspace of their own, for a nightly compiler, whose lock file nothing else here reads.
	@cargo metadata --locked --manifest-path tests/fuzz/Cargo.toml --format-version 1 >/dev/null

fmt: ## format the code
	@cargo fmt

setup: ## install what is missing to build and test (asks for nothing, says what it does)
	@.ci/setup bitcoind
	@.ci/setup python
	@.ci/setup lint

bitcoind: ## a real bitcoind for the tests, from the vendored source, built once
	@.ci/setup bitcoind
	@tests/bitcoind/build.sh '$(CACHE)/bitcoind' >&2

python: ## a real Electrum server for the tests, and a second implementation of Bitcoin's scripts, installed once
	@.ci/setup python
	@tests/python/build.sh '$(CACHE)/python' >&2

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
