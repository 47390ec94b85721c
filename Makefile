# `make` prints the targets. An environment of your own, with torch and detectron2 in it, is used as it is: PY=python.
VENV   ?= .venv
PYTHON ?= python3
JOBS   ?= 2
FUZZ_EXAMPLES ?= 5000
EXTRAS ?=

ifndef PY
PY    := $(VENV)/bin/python
COMMA := ,
READY := $(VENV)/.set-up$(if $(EXTRAS),-$(subst $(COMMA),-,$(EXTRAS)))
endif

# A file's tests stay in one process, so that what they share is made once.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest
SPREAD := -n $(JOBS) --dist loadfile

.PHONY: help setup demo test test-fast test-real coverage lint format types docs bench fuzz kills doctor slurm-up slurm-down slurm-faults

help:  ## print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 19
	@echo; echo "VENV=$(VENV) is the environment to set up, PYTHON=$(PYTHON) makes it; PY=python uses your own instead."

setup: $(READY)  ## make the environment: exact tested versions, detectron2, this checkout; EXTRAS=umap: more

demo: setup  ## pretrain, convert, fine-tune, print the table and write the report, on drawn images, in minutes
	$(PY) slurm/run_all.py --stage pretrain,transfer,analysis

test: setup  ## run the tests, in JOBS=2 processes
	$(PYTEST) $(SPREAD)

test-fast: setup  ## the tests that are quick: a minute or so
	$(PYTEST) $(SPREAD) -m "not slow and not slurm and not browser"

test-real: setup  ## the tests that need a real SLURM (make slurm-up) and Chromium; without them they fail
	SLURM_TESTS=required BROWSER_TESTS=required $(PYTEST) -m "slurm or browser"

coverage: setup  ## what share of the lines the tests ran, after: PYTEST_ADDOPTS="--cov --cov-report=" make test
	$(PY) -m coverage report

lint: setup  ## check style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: setup  ## put style and format right
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: setup  ## check types with pyright
	$(PY) -m pyright --pythonpath $(PY)

docs: setup  ## build the documentation in site/, warnings being errors
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: setup  ## time the loss, the evaluation, the ranks, the bookkeeping and the submission: half an hour, a quiet machine
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(PY) $$file || exit 1; done

fuzz: setup  ## the property tests with FUZZ_EXAMPLES=5000 inputs each, new ones each time: an hour or more
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) $(SPREAD) -m hypothesis

kills: setup  ## kill every command at each of its file events, an hour; KILLS=2/5: every fifth, from the second on
	FULL_KILLS=$(or $(KILLS),1) $(PYTEST) -rP tests/*/test_killed.py

doctor:  ## check this machine, one line for each thing that could be wrong, with its remedy
	@$$(command -v $(PY) || command -v $(PYTHON)) tools/doctor.py

slurm-up: setup  ## start a real SLURM of two nodes on this machine, for the tests in tests/slurm/real
	@$(PY) tools/local_slurm/up.py

slurm-down: setup  ## end it, and leave nothing of it behind
	@$(PY) tools/local_slurm/down.py

slurm-faults: setup  ## the fault campaign on that SLURM: its table is docs/faults.md
	$(PY) -m pytest -s tests/slurm/real/faults.py

# The stamp comes last, so a set-up that was interrupted is taken up again by the next call.
$(VENV)/.set-up: requirements.txt constraints.txt pyproject.toml transfer/install_detectron2.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("error: Python 3.10 or newer is needed, \
	found %d.%d; name another: make setup PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -c constraints.txt pip setuptools wheel
	# Built with the setuptools just pinned, not with the newest of the day that pip would fetch.
	$(PY) -m pip install --no-build-isolation -c constraints.txt -r requirements.txt
	$(PY) transfer/install_detectron2.py
	$(PY) -m pip check
	@touch $@

# The optional dependencies of pyproject.toml, EXTRAS=language or EXTRAS=umap,language. Those of the tests are there.
$(VENV)/.set-up-%: $(VENV)/.set-up pyproject.toml constraints.txt
	$(PY) -m pip install --no-build-isolation -c constraints.txt -e ".[$(EXTRAS)]"
	$(PY) -m pip check
	@touch $@
