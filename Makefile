# Each command makes .venv where there is none, installs into it what is missing, and runs.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test soak fuzz check clean

demo: $(INSTALLED)
	$(BIN)/limner demo limner-demo --force

test: $(INSTALLED)
	$(BIN)/python -m pytest

soak: $(INSTALLED)
	$(BIN)/python -m pytest -m soak

fuzz: $(INSTALLED)
	$(BIN)/python benchmarks/fuzz.py --cases 100000

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# pip and not another installer, and torch first: constraints.txt pins the build that fits a machine without a GPU.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Limner needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv limner-demo
