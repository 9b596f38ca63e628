# PYTHON picks the interpreter and with it the stack: 3.10-3.11 classic, 3.12-3.13 current.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv-$(VERSION)/bin

.PHONY: quickstart test test-beam lint docs site presets clean

quickstart: $(BIN)/.installed
	$(BIN)/lae-tf quickstart quickstart-out

# Files are dealt out whole, so that the fixtures of each are made once.
test: $(BIN)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# After the others: Beam brings older versions of NumPy, protobuf and pyarrow with it.
test-beam: $(BIN)/.installed-dev
	$(BIN)/python -m pip install -qq --editable '.[beam]'
	$(BIN)/python -m pytest -n 2 tests/predict/pools/test_beam_engine.py tests/predict/pools/test_tfrecords.py

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/tree && mkdir -p build/tree/lae_tf  # as it installs: cli, serving and configs below lae_tf
	for part in lae_tf/* cli serving configs; do ln -s ../../../$$part build/tree/lae_tf/; done
	cd build/tree && $(CURDIR)/$(BIN)/mypy --config-file ../../pyproject.toml
	cd build/tree && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports ../../pyproject.toml

site: $(BIN)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs: $(BIN)/.installed-dev
	$(BIN)/python -m lae_tf.cli.reference > docs/reference/cli.md
	$(BIN)/python -m lae_tf.cli.config_reference > docs/reference/config.md

# The ready model, from photographs that may be used for it; an hour of one core.
presets: $(BIN)/.installed
	$(BIN)/python benchmarks/lae_photo.py build/presets

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

$(BIN)/.installed-docs: $(BIN)/.installed
	$(BIN)/python -m pip install -qq --editable '.[docs]'
	touch $@
