# `make run`: set-up and the demo.  `make test`: set-up, lint, types and tests.  `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := setup
.PHONY: help setup kernels run test lint format bench peers faults lock clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/.installed ## build .venv/ from requirements.lock

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "alphad needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@echo "set-up: installing the locked packages into .venv/ (about a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

kernels: setup
	@$(BIN)/alphad kernels

run: kernels ## the demo: three simulated years in a minute, into out/
	$(BIN)/alphad demo --out out

test: kernels lint ## lint, types and tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deploy/examples deploy/runtime_lock.py

format: setup ## let ruff rewrite the tree
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: kernels ## how long a session takes, by stage and number of assets; the store; originality
	$(BIN)/python -m bench.daily
	$(BIN)/python -m bench.cycle --growth
	$(BIN)/python -m bench.store
	$(BIN)/python -m bench.scrape
	$(BIN)/python -m bench.mining --subtrees

peers: .venv-bench/.installed ## the expression engine beside pandas, polars, qlib, KunQuant … (a quarter of an hour)
	.venv-bench/bin/python -m bench.engine --json out/engine.json --picture out/engine.html

.venv-bench/.installed: pyproject.toml
	@echo "set-up: installing the engines to compare with into .venv-bench/"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	@touch $@

faults: kernels ## what is marked slow; 200 kills; simulated years of random faults; providers (three hours)
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m bench.kills --kills 200
	$(BIN)/python -m bench.soak --minutes 30
	$(BIN)/python -m bench.soak --years 5
	$(BIN)/python -m bench.readers
	$(BIN)/python -m bench.live --split --deadlines --calendar
	$(BIN)/python -m bench.live --faults

lock: setup ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --extra dev --no-header --output-file requirements.lock pyproject.toml

clean: ## remove what was built, not what was published
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
