# make demo | test | lint: each makes .venv by itself, pinned by constraints.txt. Nothing else is needed but Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
# two processes with one thread each are faster and steadier for small tests than one with two
TEST_THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: demo test coverage test-slow browser test-browser lint format bench clean

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dermis needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hf,track,llm,ontology,corpus,text,lora,search,serve,export,dicom,heic,dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/dermis demo

test: .venv/installed
	$(TEST_THREADS) $(BIN)/python -m pytest -n 2

# Debian's Chromium, in which the page's tests run
browser:
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver

# pictures of the page: DERMIS_SCREENSHOTS=folder make test-browser
test-browser: .venv/installed
	$(TEST_THREADS) $(BIN)/python -m pytest -m browser tests/serve

coverage: .venv/installed
	$(TEST_THREADS) $(BIN)/python -m pytest -n 2 --cov=dermis --cov-report=term:skip-covered --cov-report=html:runs/coverage

test-slow: .venv/installed
	$(BIN)/python -m pytest -m 'slow and not gpu and not net and not browser'

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed
	$(BIN)/python benchmarks/pictures.py
	$(BIN)/python benchmarks/losses.py
	$(BIN)/python benchmarks/make.py
	$(BIN)/python benchmarks/sm3.py

clean:
	rm -rf .venv runs demo
