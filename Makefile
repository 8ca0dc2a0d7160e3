# Every target sets up a virtual environment in .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.PHONY: setup demo test test-fast compiled lint docs clean

setup: $(VENV)/ready

demo: $(VENV)/ready
	$(BIN)/nucleipel demo --out demo_out

# three processes keep two cores busy: one of them mostly waits for Slurm
test: lint compiled
	$(PYTEST) -n 3 --durations=60

# two: nothing here waits, and each process imports torch and collects all tests
test-fast: lint compiled
	$(PYTEST) -n 2 -m "not slow and not slurm and not browser and not data"

# once, and not in each of the processes that test
compiled: $(VENV)/ready
	$(BIN)/python -m nucleipel.instances.precompile

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python scripts/checks/check_prose.py

# the site, into site_out; a warning is an error
docs: $(VENV)/ready
	$(BIN)/sphinx-build --fail-on-warning --quiet -c docs/site docs site_out

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo_out site_out
