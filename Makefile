# Everything here works from a fresh clone.  `make demo` and `make test` make
# their own .venv; `make dev` builds in place with whatever PYTHON is given.

SHELL := /bin/bash
VENV ?= .venv
# `make dev` uses the active virtual environment, else .venv.
PYTHON ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV)/bin/python,$(VENV)/bin/python)
BUILD := build/dev

.PHONY: dev demo test lint bench clean venv tools

# Fast in-place build: compiles what changed, puts _core and relive-agent beside
# the Python sources, and makes the interpreter find them (a .pth file).
dev:
	@PYTHON="$(PYTHON)" BUILD="$(BUILD)" tools/dev-build

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache src/relive/*.so src/relive/relive-agent
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
