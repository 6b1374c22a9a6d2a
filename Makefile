# make setup   .venv with the multimix command
# make demo    learn, judge and answer on generated radiographs (some minutes)
# make test    all tests
# make numeric the tests that depend on rounding, as older processors and two threads round
# make check   style, types, import contract, documents

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test numeric check lock

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/multimix demo --out demo

test: setup
	$(BIN)/python -m pytest

# The oldest processor that torch runs on, one with AVX2, and two threads; `make test` is this processor with one.
numeric: setup
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE $(BIN)/python -m pytest -m numeric
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -m numeric
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -m numeric

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
