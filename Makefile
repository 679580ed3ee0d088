# Everything here works from a fresh clone on Debian 12.
#
#   make demo    record and replay a program in front of your eyes
#   make test    lint, type check, tests          make test ARGS='-k dump'
#   make bench   the figures of BENCHMARKS.md
#   make dev     fast in-place build for development
#
# All but `dev` use .venv, which they make.

SHELL := /bin/bash
PYTHON3 ?= python3
VENV ?= .venv
export PYTHON3

# `make dev` builds for the active virtual environment, else for .venv.
PYTHON ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV)/bin/python,$(CURDIR)/$(VENV)/bin/python)
BUILD := build/dev
PIP := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pip --disable-pip-version-check -q

.PHONY: dev demo test lint bench clean deps install

# Compiles what changed, puts _core and relive-agent beside the Python sources,
# and makes the interpreter find them there (a .pth file).
dev:
	@PYTHON="$(PYTHON)" BUILD="$(BUILD)" tools/dev-build

demo: install
	@PYTHON="$(VENV)/bin/python" tools/demo

test: deps install
	@lint=0; $(MAKE) --no-print-directory lint || lint=$$?; \
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pytest $(ARGS) && exit $$lint

lint:
	@status=0; \
	$(VENV)/bin/ruff check . || status=1; \
	$(VENV)/bin/ruff format --check . || status=1; \
	$(VENV)/bin/mypy || status=1; \
	exit $$status

bench: install
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python bench/run.py $(ARGS)

deps:
	@tools/install-deps test

# The package as a user gets it, in .venv.
install: $(VENV)/ready
	@$(PIP) install --no-build-isolation --no-deps .

$(VENV)/ready: pyproject.toml tools/install-deps tools/requirements
	@tools/install-deps build
	@$(PYTHON3) -m venv $(VENV)
	@$(PIP) install $$($(PYTHON3) tools/requirements build run dev)
	@$(PIP) install --retries 1 --only-binary :all: $$($(PYTHON3) tools/requirements parquet) || \
		echo "no pyarrow here: its tests will be skipped"
	@touch $@

clean:
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f src/relive/*.so src/relive/relive-agent
	find src tests tools bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
