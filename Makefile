# Two commands, each complete on a fresh machine: `make demo` and `make test`. While you work, `make quick`.
PYTHON      ?= python3
VENV        ?= .venv
LABEL_VENV  ?= .venv-label
CONVERT_VENV ?= .venv-convert
DEPLOY_VENV ?= .venv-deploy
LOWEST_VENV ?= .venv-lowest
# A CUDA machine installs its own torch: `make demo CONSTRAINTS=/dev/null`.
CONSTRAINTS ?= constraints-cpu.txt
# Most of what is installed is never imported, so Python compiles a module when it first is and keeps that, whatever the
# shell is set to: a test that starts a process does not compile again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL      = -m pip install -q --no-compile --disable-pip-version-check
PIP          = $(VENV)/bin/python $(INSTALL) -c $(CONSTRAINTS)
DEMO_DIR    ?= demo
FUZZ_SEED   ?= 0

# Real sample data for the tests, where it lies beside the checkout.
ifneq ($(wildcard ../shared/data),)
export SEGDIFF_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help demo test quick format lint types unit bundles fuzz docs build clean test-label test-convert test-deploy test-lowest test-processors

help:
	@echo "make demo   install, then train, generate and evaluate on phantoms; pictures and figures in $(DEMO_DIR)/"
	@echo "make test   install, then lint, type-check and test"
	@echo "make quick  lint and the quickest tests, within two minutes; the rest is for make test"
	@echo "make format  lay out the code, and correct what ruff can correct"
	@echo "make bundles  write into each bundle what bundles/recipes says"
	@echo "make fuzz   2,000 mutated files for all commands, with other ones for each FUZZ_SEED"
	@echo "make test-label  install MONAI Label in $(LABEL_VENV), then test its application"
	@echo "make test-convert  install monai-generative in $(CONVERT_VENV), then compare converted networks with it"
	@echo "make test-deploy  install MONAI Deploy in $(DEPLOY_VENV), then test its application"
	@echo "make test-lowest  install the lowest versions of what we use in $(LOWEST_VENV), then test data and transforms"
	@echo "make test-processors  test with the instruction sets SSE4, AVX2 and AVX-512, whatever this processor has"
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

# Mathematics, transforms, metrics and readers: most tests for the time, and none that trains a network.
QUICK = tests/diffusion tests/transforms tests/inferers tests/metrics tests/losses tests/docs/test_pages.py \
	tests/test_configuration.py tests/test_documents.py tests/test_errors.py tests/test_files.py tests/test_layers.py \
	tests/test_public_names.py tests/test_settings.py

quick: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow" $(QUICK)

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lint: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(VENV)/.dev
	$(VENV)/bin/mypy

unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m slipcover --json --out .coverage.json -m pytest -n 2 -m "not slow"
	$(VENV)/bin/python -m slipcover --merge .coverage.json --out .coverage.json --fail-under 90
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m slow

bundles: $(VENV)/.dev
	$(VENV)/bin/python bundles/recipes/write.py

# MONAI Label asks for other versions of what we use, so it has an environment of its own. sam2, which it needs, is built
# from source beside a torch: the constraint holds there, too.
$(LABEL_VENV)/.label: pyproject.toml $(CONSTRAINTS)
	test -x $(LABEL_VENV)/bin/python || $(PYTHON) -m venv $(LABEL_VENV)
	PIP_CONSTRAINT=$(abspath $(CONSTRAINTS)) SAM2_BUILD_CUDA=0 $(LABEL_VENV)/bin/python $(INSTALL) -e ".[label]" "pytest>=8"
	@touch $@

test-label: $(LABEL_VENV)/.label
	OMP_NUM_THREADS=1 PYTHONPATH=monai_segdiff/integrations/label/template/compat $(LABEL_VENV)/bin/python -m pytest tests/integrations/label

# monai-generative installs a top-level package `tests`, so it has an environment of its own.
$(CONVERT_VENV)/.convert: pyproject.toml $(CONSTRAINTS)
	test -x $(CONVERT_VENV)/bin/python || $(PYTHON) -m venv $(CONVERT_VENV)
	$(CONVERT_VENV)/bin/python $(INSTALL) -c $(CONSTRAINTS) -e . "monai==1.6.1" "monai-generative==0.2.3" "pytest>=8"
	@touch $@

test-convert: $(CONVERT_VENV)/.convert
	OMP_NUM_THREADS=1 $(CONVERT_VENV)/bin/python -m pytest tests/conversion

# MONAI Deploy pins what it runs on, so it has an environment of its own.
$(DEPLOY_VENV)/.deploy: pyproject.toml $(CONSTRAINTS)
	test -x $(DEPLOY_VENV)/bin/python || $(PYTHON) -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/python $(INSTALL) -c $(CONSTRAINTS) -e ".[deploy]" "itk-io>=5.4" "hatchling>=1.25" "pytest>=8"
	@touch $@

test-deploy: $(DEPLOY_VENV)/.deploy
	OMP_NUM_THREADS=1 $(DEPLOY_VENV)/bin/python -m pytest tests/integrations/deploy

# Two thousand mutated files for all verbs, every night; `make unit` tries two hundred.
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.fuzz --inputs 2000 --seed $(FUZZ_SEED)

# torch alone is not its lowest version: on a machine without a GPU there is but the one that the constraint names.
$(LOWEST_VENV)/.lowest: pyproject.toml $(CONSTRAINTS) tests/lowest_versions.py
	test -x $(LOWEST_VENV)/bin/python || $(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python tests/lowest_versions.py pyproject.toml > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_VENV)/bin/python $(INSTALL) -c $(CONSTRAINTS) -c $(LOWEST_VENV)/lowest.txt -e ".[test]"
	@touch $@

test-lowest: $(LOWEST_VENV)/.lowest
	OMP_NUM_THREADS=1 $(LOWEST_VENV)/bin/python -m pytest -n 2 tests/data tests/transforms tests/test_files.py tests/test_documents.py

# Every library chooses its code by the processor, so figures differ in their last digits. For each night, not each change.
SSE4   = ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 OPENBLAS_CORETYPE=Prescott \
	NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
AVX2   = ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell \
	NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR"
AVX512 = ATEN_CPU_CAPABILITY=avx512 ONEDNN_MAX_CPU_ISA=AVX512_CORE MKL_ENABLE_INSTRUCTIONS=AVX512 OPENBLAS_CORETYPE=SkylakeX

test-processors: $(VENV)/.dev
	$(SSE4) OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow"
	$(AVX2) OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow"
	! grep -q avx512f /proc/cpuinfo || $(AVX512) OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow"

docs: $(VENV)/.dev
	$(VENV)/bin/python -m sphinx -W -b html docs docs/_build/html

build: $(VENV)/.dev
	$(VENV)/bin/python -m build --outdir dist

clean:
	rm -rf $(VENV) .venv-convert .venv-deploy .venv-label .venv-lowest build dist docs/_build .coverage* .mypy_cache .ruff_cache .pytest_cache
