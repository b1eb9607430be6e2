# `make demo` and `make test` do everything, including a virtual environment of their own (Python 3.11+, gcc, make).

PYTHON ?= python3
VENV ?= .venv
NNEFC_SHARED ?= ../shared
PYTEST_ARGS ?= -q -n 2 --dist loadfile

override NNEFC_SHARED := $(abspath $(NNEFC_SHARED))
export NNEFC_SHARED

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test conformance lint types format clean

help:
	@echo "make demo         compile a small real network and let it answer"
	@echo "make test         run the tests"
	@echo "make conformance  run the long suites"
	@echo "make lint         check the style (ruff) and the types (mypy)"
	@echo "make format       rewrite the sources in the project's style"
	@echo "make clean        remove what these targets made"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "nnefc needs Python 3.11 or later; set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv: on Debian, apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "installing nnefc and what it needs into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "installing nnefc, what it needs and the tools of its tests into $(VENV)"
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.installed

# The long suites hold operations to a second interpreter as well, which brings PyTorch with it.
$(VENV)/.installed-oracles: $(VENV)/.installed-test
	@echo "installing the oracles of the long suites into $(VENV)"
	@$(PIP) --editable '.[test,oracles]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# pytest's exit code 5 says that nothing was collected.
conformance: $(VENV)/.installed-oracles
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m conformance || [ $$? -eq 5 ]

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

types: $(VENV)/.installed-test
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .cache build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
