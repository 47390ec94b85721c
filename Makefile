# `make` prints the targets. An environment of your own, with torch and detectron2 in it, is used as it is: PY=python.
VENV   ?= .venv
PYTHON ?= python3

ifndef PY
PY    := $(VENV)/bin/python
READY := $(VENV)/.set-up
endif

.PHONY: help setup demo test lint doctor slurm-up slurm-down slurm-faults

help:  ## print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 19
	@echo; echo "VENV=$(VENV) is the environment to set up, PYTHON=$(PYTHON) makes it; PY=python uses your own instead."

setup: $(READY)  ## make the environment: exact tested versions, detectron2, this checkout

demo: setup  ## pretrain, convert, fine-tune and print the table, on drawn images, in minutes
	$(PY) slurm/run_all.py --stage pretrain,transfer

test: setup  ## run the tests
	$(PY) -m pytest

lint: setup  ## check style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

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
