# Two commands matter: `make demo` shows what Pairsmith does, `make test` sets everything up and tests it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
# More arguments for pip, such as another index for torch's CPU build on a machine without a GPU.
PIP_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint lock clean doctor
.PHONY: bench-overhead bench-resume bench-local bench-cli

help:  ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(READY)  ## Install everything into .venv, in the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch goes first and alone: whatever comes after must not pull another build of it, with gigabytes of CUDA.
	$(PIP) install -q $(PIP_ARGS) 'torch==2.13.0'
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt -e '.[train,annotate,dev]'
	touch $@

demo: $(READY)  ## Build a first dataset, from our own prompts and recorded answers: no model, no key, no network
	$(BIN)/pairsmith build flows/recipes/recorded.yaml

test: $(READY) lint  ## Set everything up, check style and types, run every test
	$(BIN)/python -m pytest tests

quick: $(READY)  ## The tests that need no server and no torch, in under 30 seconds
	$(BIN)/python -m pytest tests -x -m 'not server' --ignore=tests/train --ignore-glob='*/test_transformers.py'

lint: $(READY)  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

doctor: $(READY)  ## Check this machine and this installation
	$(BIN)/pairsmith doctor

lock:  ## Write constraints.txt anew, from what pip chooses today
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q $(PIP_ARGS) 'torch==2.13.0'
	.venv-lock/bin/python -m pip install -q $(PIP_ARGS) -e '.[train,annotate,dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-lock

bench-overhead: $(READY)  ## Share of what a server could give that a build reaches, beside distilabel
	$(BIN)/python -m tests.bench.overhead --distilabel

bench-resume: $(READY)  ## Requests of a repeated, a grown and twenty times killed run
	$(BIN)/python -m tests.bench.resume

bench-local: $(READY)  ## A million prompts with four scored answers each, to pairs
	$(BIN)/python -m tests.bench.local

bench-cli: $(READY)  ## How long `pairsmith --help` takes
	$(BIN)/python -m tests.bench.cli

clean:  ## Remove the environments and everything that was built; paid replies (data/cache) and runs stay
	rm -rf .venv .venv-* build *.egg-info .mypy_cache .ruff_cache .pytest_cache
