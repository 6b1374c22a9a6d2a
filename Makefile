# make setup   .venv with the multimix command
# make demo    learn, judge and answer on generated radiographs (some minutes)
# make test    all tests
# make check   style, types, import contract, documents

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check lock

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/multimix demo --out demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/ruff format --check src tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/paper_map.py --check
	$(BIN)/python tools/results_page.py --check
	$(BIN)/python tools/layers.py --check

# Renew constraints.txt from what is installed now.
lock: setup
	$(BIN)/python tools/lock.py
