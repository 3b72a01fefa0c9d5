# Every command that a person needs. Bare `make` prints them. CI calls `make lint` and `make test` and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cdnow up down test test-fast test-slow lint audit format bench docs docs-site clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Compiled bytecode halves the import time of Airflow, dbt and Great Expectations.
unexport PYTHONDONTWRITEBYTECODE
export DO_NOT_TRACK := 1

help: ## Print these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create .venv from the lock file (first use of any other command does it too)

$(STAMP): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or run: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "Installing the locked environment…"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv sync --locked --compile-bytecode --inexact --quiet --python $(BIN)/python
	@touch $@

demo: $(STAMP) ## Start the stack, land a sample shop, let events carry it to the published tables
	@$(BIN)/c360 demo

demo-cdnow: $(STAMP) ## Take the real CDNOW order log (69,659 lines) through every stage and check its totals
	@$(BIN)/c360 demo --cdnow

up: $(STAMP) ## Start the embedded warehouse and Airflow; print addresses and credentials
	@$(BIN)/c360 up

down: ## Stop all of it
	@test ! -x $(BIN)/c360 || $(BIN)/c360 down

test: $(STAMP) ## Set up and run all tests but the slow ones
	@$(BIN)/python -m pytest -m "not slow and not airflow" -n 2 --dist loadfile
	@$(BIN)/python -m pytest -m "airflow and not slow"

test-fast: $(STAMP) ## The tests that need no Airflow, but those that build shops again and again
	@$(BIN)/python -m pytest -m "not slow and not airflow and not builds" -n 2 --dist loadfile

test-slow: $(STAMP) ## Soaks, long property suites and browser tours
	@$(BIN)/python -m pytest -m slow --timeout 7200

lint: $(STAMP) ## Check style, types and SQL; changes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --cache-dir .ruff_cache/imports
	@$(BIN)/sqlfluff lint dbt_project/models dbt_project/tests sources --processes 2 --disable-progress-bar

audit: $(STAMP) ## Examine the code, look for secrets, check licences, write dist/sbom.cdx.json; needs no network
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive plugins dags expectations
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --exclude-lines 'user:password@'
	@$(BIN)/pip-licenses >/dev/null
	@mkdir -p dist
	@$(BIN)/uv export --quiet --locked --offline --no-default-groups --preview-features sbom-export \
	    --format cyclonedx1.5 --output-file dist/sbom.cdx.json >/dev/null
	@echo "Nothing was found. The bill of materials is dist/sbom.cdx.json."

format: $(STAMP) ## Let the formatter rewrite the Python files
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(STAMP) ## Measure speed beside its peers; ONLY="latency identity" picks some
	@$(BIN)/python -m bench $(ONLY)

docs: $(STAMP) ## Write the generated pages (feeds, privacy, settings, tables) from what they describe
	@$(BIN)/python -m customer360.reference_pages.documentation

docs-site: $(STAMP) ## Write dbt's documentation of all models and metrics, one file that opens offline
	@$(BIN)/c360 docs

clean: down ## Remove the environment and everything that the product wrote
	rm -rf $(VENV) .c360
