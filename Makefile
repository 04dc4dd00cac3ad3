# Everything a developer runs; .ci/run calls the same targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --doctest-modules tests sktransfer pretraining

.PHONY: demo test test-slow coverage lint format types bench-quick bench wheel docs clean

demo: $(VENV)/.demo        ## set up, then run the main job
	mkdir -p demo
	$(BIN)/sktransfer demo --out demo $(ARGS)

test: $(VENV)/.test        ## set up, then every test but the slow ones
	$(PYTEST) -n auto -m "not slow"

test-slow: $(VENV)/.test   ## every registered network
	$(PYTEST) -n auto -m slow

coverage: $(VENV)/.test    ## the tests, and which lines they never reach
	$(PYTEST) -n auto -m "not slow" --cov --cov-report=term-missing

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.test
	$(BIN)/mypy

bench-quick: $(VENV)/.test ## proves that the benchmarks run; measures nothing
	set -e; for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python $$script --quick; done

bench: $(VENV)/.test       ## measures, and fails where a claim does not hold
	set -e; for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python $$script; done

wheel: $(VENV)/.test       ## builds the wheel, and tests it with the source tree out of the way
	.ci/test-wheel $(BIN)/python

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning docs build/docs

clean:
	rm -rf $(VENV) .venv-wheel build dist *.egg-info

# One stamp for each set of extras: nothing is installed twice, unless what the package is changes.
$(VENV)/.demo: EXTRAS := cli,plot
$(VENV)/.test: EXTRAS := test
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable ".[$(EXTRAS)]"
	touch $@
