# Two commands, each complete on a fresh machine: `make demo` and `make test`.
PYTHON      ?= python3
VENV        ?= .venv
# A CUDA machine installs its own torch: `make demo CONSTRAINTS=/dev/null`.
CONSTRAINTS ?= constraints-cpu.txt
PIP          = $(VENV)/bin/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS)
DEMO_DIR    ?= demo

# Real sample data for the tests, where it lies beside the checkout.
ifneq ($(wildcard ../shared/data),)
export SEGDIFF_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help demo test lint types unit docs build clean

help:
	@echo "make demo   install, then train, generate and evaluate on phantoms; pictures and figures in $(DEMO_DIR)/"
	@echo "make test   install, then lint, type-check and test"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make build  build the wheel and the source distribution into dist/"
	@echo "make clean  remove the environment and everything built"

$(VENV)/.base: pyproject.toml $(CONSTRAINTS)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[dev]"
	@touch $@

demo: $(VENV)/.base
	$(VENV)/bin/python -m monai_segdiff demo --output $(DEMO_DIR)

test: lint types unit

lint: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(VENV)/.dev
	$(VENV)/bin/mypy

unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --cov --cov-report=term --cov-fail-under=90

docs: $(VENV)/.dev
	$(VENV)/bin/python -m sphinx -W -b html docs docs/_build/html

build: $(VENV)/.dev
	$(VENV)/bin/python -m build --outdir dist

clean:
	rm -rf $(VENV) build dist docs/_build .coverage* .mypy_cache .ruff_cache .pytest_cache
