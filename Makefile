# Every command that developers and machines use. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --no-emit-options --annotation-style line

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast faults soak lint bench bench-quick lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything that is needed (the second time there is nothing to do)

$(STAMP): requirements-dev.lock pyproject.toml $(wildcard app/*/_*.pyx app/*/_*.px[di])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "meterstream needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)."; \
		echo "Name another one with: make setup PYTHON=/path/to/python3"; exit 1; }
	@echo "==> Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> Installing the locked packages (a minute or two the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --require-hashes --requirement requirements-dev.lock \
		| awk '/^Collecting / { print "    " $$2; fflush() } /^Installing / { print "    (unpacking)"; fflush() }'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "from app.wire.compiled import parts; parts or print('==> Nothing is compiled, for want of a C compiler or of\
 Python\'s headers: everything works, and a worker takes three times the CPU')"
	@touch $@
	@echo "==> Ready: $(BIN)/meterstream"

run: setup ## Start a Kafka for this machine, demo data and a worker, and watch records being priced (Ctrl-C ends it)
	@exec $(BIN)/meterstream dev

test: lint ## Everything that has to hold: lint, types, layers, and all tests with coverage
	@# Tests on a broker mostly wait, the others compute: the three together take little longer than the longest.
	@# `set -m`: each has a process group, to which an interrupt is passed on: all that it has started then ends with it.
	@$(BIN)/coverage erase
	@set -m; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; run="$(BIN)/coverage run --parallel-mode -m pytest"; status=0; \
	$$run -m "not broker" >"$$folder/others" 2>&1 & others=$$!; \
	$$run -m broker tests/faults >"$$folder/faults" 2>&1 & faults=$$!; \
	$$run -m broker --ignore=tests/faults & broker=$$!; \
	trap 'kill -INT -- -$$broker -$$faults -$$others 2>/dev/null; interrupted=1' INT TERM; \
	wait $$broker || status=$$?; \
	if [ -n "$${interrupted:-}" ]; then wait; exit 130; fi; \
	wait $$faults || status=$$?; cat "$$folder/faults"; \
	wait $$others || status=$$?; cat "$$folder/others"; exit $$status
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

test-fast: setup ## The tests that need no broker
	@$(BIN)/python -m pytest -m "not broker"

faults: setup ## Break everything that can break, at full size, and print what was counted (takes long)
	@mkdir -p build && rm -f build/faults.jsonl
	@FAULTS=full FAULTS_COUNTS=build/faults.jsonl $(BIN)/python -m pytest tests/faults; status=$$?; \
	$(BIN)/python -m tests.faults.table build/faults.jsonl; exit $$status

soak: setup ## Constant load for MINUTES=30: memory and lag have to stay flat, and every price right (RATE=1000 a second, WORKERS=1)
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30) --rate $(or $(RATE),1000) --workers $(or $(WORKERS),1)

lint: setup ## Style, formatting, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup ## Measure how fast it is on this machine, and how fast others do the same job (half an hour; ARGS=--quick, ARGS=--alone)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: setup ## Is a worker as fast as it was? Its ratio to a bare loop, in three minutes; warns, never fails
	@$(BIN)/python -m benchmarks.quick

lock: setup ## Choose the newest allowed versions of all packages and write the lock files
	@$(COMPILE) --upgrade --output-file requirements.lock pyproject.toml
	@$(COMPILE) --upgrade --extra dev --extra fuzz --extra oracles --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@# pip-compile drops the markers of what extras name; where there is no wheel of atheris, `make setup` must not ask for it.
	@marker=$$(sed -n 's/^ *"atheris[^;]*; *\(.*\)",.*/\1/p' pyproject.toml) && test -n "$$marker" && \
	sed -i.bak "s/^atheris==[^ ]*/& ; $$marker/" requirements-dev.lock && rm requirements-dev.lock.bak

clean: ## Remove what the commands have made, .venv included
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -f app/wire/_*.so
	find app tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
