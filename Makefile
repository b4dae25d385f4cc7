# `make demo` on a fresh machine needs Python 3.11 or newer with venv, and a package index that
# pip can reach. `make help` lists the rest.

PYTHON ?= $(shell for p in python3.11 python3; do \
	"$$p" -c "" >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := deniability tests $(wildcard examples benchmarks fuzz)
BENCHMARKS ?= $(patsubst %,benchmarks/%.py,recovery roofline growth enumeration recall peers ablation)
#: One thread per process: the tests run on all cores as separate processes.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo venv test lint check bench schemas clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(STAMP)  ## the whole story on the built-in generator
	$(BIN)/deny demo

venv: $(STAMP)  ## an environment in .venv with the pinned versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c "" 2>/dev/null || { \
		echo "No usable Python$(if $(PYTHON), called $(PYTHON)). Install 3.11 or newer, or name" \
			"one: make $(or $(MAKECMDGOALS),venv) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$("$(PYTHON)" -V 2>&1), and 3.11 or newer is needed. Name one:" \
			"make $(or $(MAKECMDGOALS),venv) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu:" \
			"apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

test: $(STAMP)  ## all tests, on every core
	$(TEST_ENV) $(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

lint: $(STAMP)  ## format, lint and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

check: lint test  ## what has to pass before a change is merged

bench: $(STAMP)  ## the measurements in benchmarks/
	set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

schemas: $(STAMP)  ## write schemas/*.json again from the wire models
	$(BIN)/python -m deniability.wire.schema schemas

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find deniability tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + || true
