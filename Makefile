# Two commands do everything on a fresh machine with Python 3.11+: `make demo` and `make test`.
# Both make .venv and install what they need; nothing outside this folder is touched.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEV := .venv/.installed-dev
WORKERS ?= 2

.PHONY: help demo test test-all check format shipped-model shipped-fast-model clean

help:
	@echo "make demo      train on handwritten digits (about four minutes on two cores) and write runs/demo/report.html"
	@echo "make test      the quick tests"
	@echo "make test-all  all tests, slow ones too"
	@echo "make check     lint, types, import contracts"
	@echo "make format    format and mend what can be mended"
	@echo "make shipped-model  train the model that comes with the package again (about ten minutes on two cores)"
	@echo "make shipped-fast-model  make its student again, which draws in four evaluations or fewer"
	@echo "make clean     remove .venv and caches"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "undiffuse needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# torch is pinned by constraints.txt, not by the package.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(INSTALLED)
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

# A second `make demo` goes on where the first one stopped; after the end it only writes the report again.
demo: $(INSTALLED)
	@if [ -d runs/demo ]; then $(BIN)/undiffuse train --resume runs/demo; \
	else $(BIN)/undiffuse train digits --recipe digits --name demo; fi
	@$(BIN)/undiffuse report runs/demo

test: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-all: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The recipe of the demo, predicting v as it did then, told the classes and given more time. Goes on where it stopped.
SHIPPED := runs/shipped-digits
shipped-model: $(INSTALLED)
	@if [ -d $(SHIPPED) ]; then $(BIN)/undiffuse train --resume $(SHIPPED); \
	else $(BIN)/undiffuse train digits --recipe digits --parameterization v --no-clipped-error --condition class --steps 5000 --name $(notdir $(SHIPPED)); fi
	$(BIN)/python -m undiffuse.export.shipped $(SHIPPED) --name digits

# The shipped model's student: four, two or one evaluation, guidance a choice. Goes on where it stopped.
FAST := shipped-digits-fast
shipped-fast-model: $(INSTALLED)
	$(BIN)/undiffuse distill builtin:digits --method distribution --guidance 1,3 --updates 500 --condition-lr 5 --name $(FAST) --resume
	$(BIN)/python -m undiffuse.export.shipped runs/$(FAST) --name digits-fast

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
