# byoc: every command sets up what it needs in .venv (Python >= 3.11 and make suffice).
PYTHON ?= python3
VENV   := .venv
# Tests wait for servers and killed processes more than they compute: one process more than two cores.
TESTS  := $(VENV)/bin/python -m pytest -n 3 --dist worksteal
PIP    := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check

.PHONY: demo dev test check bench clean help

help: ## Show the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing byoc and its playground into $(VENV) …"
	$(PIP) install -c constraints.txt -e '.[aws,gcp-simulator,azure-simulator]'
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV) …"
	$(PIP) install -c constraints.txt -e '.[aws,gcp-simulator,azure-simulator,dev]'
	@touch $@

demo: $(VENV)/.runtime ## Run the main job against simulated clouds, from nothing to a retired deployment
	$(VENV)/bin/byoc demo

dev: $(VENV)/.runtime ## Keep the playground running and print its URLs
	$(VENV)/bin/byoc dev

test: $(VENV)/.development ## Run every test
	$(TESTS)

check: $(VENV)/.development ## Lint, type check, check the architecture, run every test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(TESTS)

bench: $(VENV)/.development ## Measure, print a table, write bench/results.json
	$(VENV)/bin/python -m bench

clean: ## Remove the virtual environment and what tools left
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
