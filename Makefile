# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow check bench notebooks docs clean

demo: $(STAMP)  ## distil a graph teacher into an MLP on embedded data, prove it, export it
	$(BIN)/mmkd run graph/glnn --jobs 2 --out demo/run
	$(BIN)/mmkd export demo/run
	$(BIN)/mmkd predict demo/run/bundle examples/digits.csv

test: $(STAMP)  ## fast tests of the core and of every plugin
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-slow: $(STAMP)  ## simulations, kills and two processes, minutes long
	$(BIN)/python -m pytest -m slow

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## reproduction tables and speed ratios; MMKD_DATA names the folder with real data
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.glnn

notebooks: $(STAMP)  ## execute them and write their outputs; MMKD_FAST=1: shortened, and compared with what is committed
	$(BIN)/python notebooks/execute.py --jobs 2

docs: $(STAMP)  ## the site, from what is installed and committed; no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv demo runs build dist site

$(STAMP): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e ".[deploy,dev]" $(patsubst %,-e "%[dev]",$(wildcard plugins/*))
	touch $(STAMP)
