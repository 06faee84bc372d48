# Everything a developer does here, by name. `make` alone lists it.
# Needs Python 3.11 or later and make; the environment (.venv) is made on first use.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help env demo test test-fast test-all check bench soak fmt clean

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest -q
PYTEST_ARGS ?=

# The fast suite: no worker processes, no servers.
FAST := $(wildcard $(addprefix tests/,test_house.py unit cli conformance testing typing sim))
# The rest runs one test at a time: it starts processes and watches clocks.
SLOW := $(filter-out $(FAST) %/__pycache__ %/support,$(patsubst %/,%,$(wildcard tests/*/)))

# A pyenv shim may exist and fail, a system Python may lack venv: only one that answers counts.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11)) if sys.argv[1:] == [] \
  else sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])
CANDIDATES := python3.13 python3.12 python3.11 python3 python
INSTALLED = $$(ls -d "$$HOME"/.pyenv/versions/$(1)*/bin/python3 2>/dev/null)

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY) ## make the environment (the other targets do so when they need it)

$(READY): pyproject.toml constraints.txt
	@set -e; py="$(PYTHON)"; \
	if [ -z "$$py" ]; then \
	  for try in $(CANDIDATES) $(call INSTALLED,3.1[1-9]); do \
	    if "$$try" -c '$(USABLE)' >/dev/null 2>&1; then py="$$try"; break; fi; \
	  done; \
	fi; \
	if [ -z "$$py" ]; then \
	  echo "make: no usable Python 3.11 or later with the venv module on this machine." >&2; \
	  echo "      Install one (Debian: python3 and python3-venv), or say make PYTHON=/path/to/python3." >&2; \
	  exit 1; \
	fi; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making $(VENV) with $$($$py -V)"; $$py -m venv --clear $(VENV); }; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	touch $@

demo: $(READY) ## run the order page: slow calls in the request, then as jobs, then with everything failing
	@$(BIN)/python -m examples.orders.demo

test: $(READY) ## run the whole suite
	$(PYTEST) -n $(JOBS) $(PYTEST_ARGS) $(FAST)
	$(PYTEST) $(PYTEST_ARGS) $(SLOW)

test-fast: $(READY)
	$(PYTEST) -n $(JOBS) -m "not slow" $(PYTEST_ARGS) $(FAST)

test-all: ## run the fast suite on every interpreter found (3.11, 3.12, 3.13)
	@passed=""; failed=""; missing=""; \
	for minor in 3.11 3.12 3.13; do \
	  found=""; \
	  for try in python$$minor $(call INSTALLED,$$minor) python3 python; do \
	    if "$$try" -c '$(USABLE)' $$minor >/dev/null 2>&1; then found="$$try"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then missing="$$missing $$minor"; continue; fi; \
	  echo "== Python $$minor"; \
	  version="$$("$$found" -c 'import platform; print(platform.python_version())')"; \
	  if $(MAKE) --no-print-directory test-fast VENV=.venv-$$minor PYTHON="$$found"; \
	  then passed="$$passed $$version"; else failed="$$failed $$version"; fi; \
	done; \
	echo "the fast suite passed on:$${passed:- none}"; \
	[ -z "$$missing" ] || echo "not found here, so not tested:$$missing"; \
	[ -z "$$failed" ] || echo "it failed on:$$failed"; \
	[ -z "$$failed" ] && [ -n "$$passed" ]

check: $(READY) ## format, lint, types, house and fast tests: what must hold before a commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src
	$(BIN)/pyright --warnings --pythonpath $(BIN)/python
	@$(MAKE) --no-print-directory test-fast

bench: $(READY) ## measure; results go to benchmarks/results as JSON
	$(BIN)/python benchmarks/run.py

MINUTES ?= 10
STORE ?= all
SEED ?= 1
SOAK_ARGS ?=

soak: $(READY) ## put workers under faults: MINUTES=60 STORE=sqlite SEED=1 SOAK_ARGS=; reports go to benchmarks/results
	$(BIN)/python tests/chaos/soak.py $(STORE) --minutes $(MINUTES) --seed $(SEED) $(SOAK_ARGS)

fmt: $(READY) ## format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove environments, caches and build products
	rm -rf .venv .venv-3.* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
