# Each command makes .venv where there is none, installs into it what is missing, and runs.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test soak fuzz check sbom clean

demo: $(INSTALLED)
	$(BIN)/limner demo limner-demo --force

# As many tests at a time as cores and one more, each with one thread; the tests of a file one after the other, for they
# share what is slow to make; in the order of tests/conftest.py. Python keeps what it has compiled, whatever the
# environment says, or each of the hundreds of processes that tests start would compile the package again.
test: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadscope --no-loadscope-reorder

soak: $(INSTALLED)
	$(BIN)/python -m pytest -m soak

fuzz: $(INSTALLED)
	$(BIN)/python benchmarks/fuzz.py --cases 100000

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/audit.py

sbom: $(INSTALLED)
	$(BIN)/python scripts/sbom.py

# What torch is installed from depends on the machine, so its version alone is fixed; everything else by its hash.
$(INSTALLED): pyproject.toml requirements.lock constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Limner needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(INSTALLED)

clean:
	rm -rf .venv limner-demo
