# The commands of a developer; .ci/run calls the same targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
QUALITY := benchmarks/fine_tune_quality.py
MEASURED := $(filter-out $(QUALITY),$(wildcard benchmarks/[a-z]*.py))
RESULTS := build/bench
SOURCES := $(filter-out %/_report.py,$(shell find sktransfer -name '*.py') $(wildcard benchmarks/_*.py))
INTEROP := .venv-interop
OLDEST := .venv-oldest
PARALLEL := -n auto --dist worksteal
PYTEST := $(BIN)/python -m pytest --doctest-modules tests sktransfer pretraining

# Pillow 11.3 ends the process when it writes some files of the corpus, and gives random pixels for some damaged ones.
# Two pages print scores of sentences that come with SciPy, which differ.  Masks from torch 2.6 differ by 0.00012.
NOT_OLDEST := --ignore tests/corpus \
	--deselect "tests/test_docs.py::test_the_code_of_a_page_runs[texts.md]" \
	--deselect tests/test_readme.py::test_the_examples_of_the_readme_run_in_order \
	--deselect "tests/persistence/test_exporting.py::test_masks_are_exported_as_probabilities_of_pixels[.onnx]"

.PHONY: demo test test-slow test-oldest test-faults test-corpus test-interop coverage lint format types bench-quick bench bench-quality wheel docs clean

demo: $(VENV)/.demo        ## set up, then run the demo
	mkdir -p demo
	$(BIN)/sktransfer demo --out demo $(ARGS)

test: $(VENV)/.test        ## set up, then every test but the slow ones
	$(PYTEST) $(PARALLEL) -m "not slow"

test-slow: $(VENV)/.test   ## every registered network
	$(PYTEST) $(PARALLEL) -m slow

# Old libraries call functions that the newest versions of their own dependencies deprecate, and old versions of
# NumPy leave a file half open if the disk is full.  torch 2.6 warns of the graphs that it loads.
test-oldest: $(OLDEST)/.installed  ## the oldest versions of the dependencies that setup.cfg allows
	$(OLDEST)/bin/python -m pytest tests $(NOT_OLDEST) $(PARALLEL) -m "not slow" -W ignore::DeprecationWarning \
		-W ignore::pytest.PytestUnraisableExceptionWarning -W "ignore:Attempted to insert a get_attr" \
		-W "ignore:Node lifted_tensor"

test-interop: $(INTEROP)/.installed  ## dask, ray, optuna and other libraries, in a separate environment
	$(INTEROP)/bin/python -m pytest tests/interoperability

test-faults: $(VENV)/.test ## kills, full disks, pruning and deleted folders in the middle of the work
	$(BIN)/python -m pytest -m slow tests/faults tests/test_killed_processes.py

test-corpus: $(VENV)/.test ## examines every file below a folder: make test-corpus DIR=~/photos
	$(BIN)/python tests/corpus/check.py $(DIR)

coverage: $(VENV)/.test    ## the tests, with the lines that they do not reach
	$(PYTEST) $(PARALLEL) -m "not slow" --cov --cov-report=term-missing

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.test
	$(BIN)/mypy

bench-quick: $(VENV)/.test ## checks that the benchmarks run, two at a time, without measuring
	$(BIN)/python .ci/bench_quick.py

bench: $(MEASURED:benchmarks/%.py=$(RESULTS)/%.json)  ## measures against the peers; resumes where it stopped
	$(BENCH)/bin/python benchmarks/_report.py $(RESULTS)

# A script whose claim does not hold ends with an error, but has a result: the report fails then.
$(RESULTS)/%.json: benchmarks/%.py $(SOURCES) $(BENCH)/.installed
	mkdir -p $(RESULTS)
	$(BENCH)/bin/python $< > $@.part || test -s $@.part
	mv $@.part $@

bench-quality: $(BENCH)/.installed  ## the quality of fine-tuning; takes hours
	$(BENCH)/bin/python $(QUALITY)

wheel: $(VENV)/.test       ## builds the wheel, compares it with the source, and tests the installation
	.ci/test-wheel $(BIN)/python

docs: $(VENV)/.docs        ## runs every example and one of their notebooks, and builds the pages
	$(BIN)/sphinx-build --fail-on-warning docs build/docs
	$(BIN)/python -m pytest docs/test_examples.py
	$(BIN)/jupyter execute docs/auto_examples/linear_probe.ipynb

clean:
	rm -rf $(VENV) $(BENCH) $(INTEROP) $(OLDEST) .venv-wheel build dist *.egg-info docs/auto_examples docs/generated

# One stamp for each set of extras: they are installed again only if the package files change.
$(VENV)/.demo: EXTRAS := demo
$(VENV)/.test: EXTRAS := test,compare
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable ".[$(EXTRAS)]"
	touch $@

$(INTEROP)/.installed: setup.cfg pyproject.toml
	test -x $(INTEROP)/bin/python || $(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --editable ".[interop]"
	touch $@

# pip has no way to choose the oldest versions; uv has one. The tools of the tests are the newest, except that
# scikit-learn 1.7 does not know polars 2, and later versions of onnxscript and onnx-ir do not know torch 2.6.
$(OLDEST)/.installed: setup.cfg pyproject.toml
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install uv
	$(OLDEST)/bin/uv pip compile --quiet --upgrade --resolution lowest-direct --python $(OLDEST)/bin/python \
		--extra timm --extra text --extra demo --output-file $(OLDEST)/oldest.txt setup.cfg
	$(OLDEST)/bin/python -m pip install --constraint $(OLDEST)/oldest.txt "polars<2" "onnxscript<0.5.4" \
		"onnx-ir<0.1.11" --editable ".[test]"
	touch $@

# The peers of the benchmarks and the package, in a separate environment.
$(BENCH)/.installed: benchmarks/requirements.txt setup.cfg pyproject.toml
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --requirement benchmarks/requirements.txt --editable ".[plot]"
	touch $@
