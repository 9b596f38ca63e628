# PYTHON picks the interpreter and with it the stack: 3.10-3.11 classic, 3.12-3.13 current.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv-$(VERSION)/bin

.PHONY: quickstart test test-beam lint docs clean

quickstart: $(BIN)/.installed
	$(BIN)/lae-tf quickstart quickstart-out

test: $(BIN)/.installed-dev
	$(BIN)/python -m pytest -n 2

# After the others: Beam brings older versions of NumPy, protobuf and pyarrow with it.
test-beam: $(BIN)/.installed-dev
	$(BIN)/python -m pip install -qq --editable '.[beam]'
	$(BIN)/python -m pytest -n 2 tests/predict/pools/test_beam_engine.py tests/predict/pools/test_tfrecords.py

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(BIN)/.installed-dev
	$(BIN)/python -m lae_tf.cli.reference > docs/cli.md
	$(BIN)/python -m lae_tf.cli.config_reference > docs/config.md

clean:
	rm -rf .venv-* build dist *.egg-info quickstart-out

$(BIN)/.installed: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-$(VERSION)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable .
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	touch $@
