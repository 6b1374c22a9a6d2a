# make setup   .venv with the multimix command
# make demo    learn, judge and answer on generated radiographs (some minutes)
# make test    all tests
# make test-kernels   the kernels of a CUDA device, run by an interpreter where there is none
# make test-core   the tests that need no torch, in an environment without it
# make numeric the tests that depend on rounding, as older processors and two threads round
# make check   style, types, import contract, documents

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test numeric test-core test-kernels check lock

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/multimix demo --out demo

test: setup
	$(BIN)/python -m pytest

test-core: .venv-core/installed
	.venv-core/bin/python -m pytest

.venv-core/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-core
	.venv-core/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[dicom,formats,pacs,runtime,serve]' beartype httpx pytest pytest-xdist
	! .venv-core/bin/python -c 'import torch' 2>/dev/null
	touch $@

test-kernels: setup .triton/installed
	PYTHONPATH=.triton TRITON_INTERPRET=1 $(BIN)/python -m pytest tests/networks/test_fused.py

.triton/installed: constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .triton triton
	touch $@

# The oldest processor that torch runs on, and one with AVX2 and two threads; `make test` is this processor with one.
numeric: setup
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE $(BIN)/python -m pytest -m numeric
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=2 $(BIN)/python -m pytest -m numeric

check: setup
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/ruff format --check src tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/paper_map.py --check
	$(BIN)/python tools/results_page.py --check
	$(BIN)/python tools/layers.py --check
	$(BIN)/python tools/conformance.py --check

# Renew constraints.txt from what is installed now.
lock: setup
	$(BIN)/python tools/lock.py
