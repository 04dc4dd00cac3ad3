# Everything a developer runs; .ci/run calls the same targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
QUALITY := benchmarks/fine_tune_quality.py
MEASURED := $(filter-out $(QUALITY),$(wildcard benchmarks/[a-z]*.py))
RESULTS := build/bench
SOURCES := $(filter-out %/_report.py,$(shell find sktransfer -name '*.py') $(wildcard benchmarks/_*.py))
PYTEST := $(BIN)/python -m pytest --doctest-modules tests sktransfer pretraining

.PHONY: demo test test-slow coverage lint format types bench-quick bench bench-quality wheel docs clean

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

bench-quick: $(VENV)/.test ## proves that the benchmarks run, two at a time; measures nothing
	printf '%s\n' benchmarks/[a-z]*.py | xargs -P 2 -I {} sh -c \
		'found=$$($(BIN)/python {} --quick) && echo "{} $$found" || { echo "{} failed"; exit 1; }'

bench: $(MEASURED:benchmarks/%.py=$(RESULTS)/%.json)  ## measures against the peers; goes on where it was ended
	$(BENCH)/bin/python benchmarks/_report.py $(RESULTS)

# A claim that does not hold ends its script with an error, but is a result: the report fails by it.
$(RESULTS)/%.json: benchmarks/%.py $(SOURCES) $(BENCH)/.installed
	mkdir -p $(RESULTS)
	$(BENCH)/bin/python $< > $@.part || test -s $@.part
	mv $@.part $@

bench-quality: $(BENCH)/.installed  ## the quality of fine-tuning; takes hours
	$(BENCH)/bin/python $(QUALITY)

wheel: $(VENV)/.test       ## builds the wheel, and tests it with the source tree out of the way
	.ci/test-wheel $(BIN)/python

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning docs build/docs

clean:
	rm -rf $(VENV) $(BENCH) .venv-wheel build dist *.egg-info

# One stamp for each set of extras: nothing is installed twice, unless what the package is changes.
$(VENV)/.demo: EXTRAS := cli,plot
$(VENV)/.test: EXTRAS := test
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable ".[$(EXTRAS)]"
	touch $@

# The peers of the benchmarks, beside the package, in an environment of their own.
$(BENCH)/.installed: benchmarks/requirements.txt setup.cfg pyproject.toml
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --requirement benchmarks/requirements.txt --editable ".[plot]"
	touch $@
