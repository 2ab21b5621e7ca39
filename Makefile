# Each target sets up what it needs: .venv is made or brought up to date first (tools/install.py).
# `make PYTHON=/path/to/python3.12 test` takes another interpreter for it.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long quality style wheel bench clean

help:
	@echo "make demo       simulate, pretrain, evaluate; writes $(DEMO)/index.html (about a quarter of an hour)"
	@echo "make test       the tests (CPU, no network)"
	@echo "make test-long  the tests, slow ones too"
	@echo "make quality    lint, format, types, links; changes nothing"
	@echo "make style      format and repair what can be repaired"
	@echo "make wheel      build the wheel and the source archive into dist/"
	@echo "make bench      run the benchmarks"
	@echo "make install    make or update .venv only"
	@echo "make clean      remove what the targets made, but not .venv and $(DEMO)/"

install:
	@$(PYTHON) tools/install.py

demo: install
	$(BIN)/selip demo $(DEMO)

test: install
	$(BIN)/python -m pytest --durations=10

test-long: install
	$(BIN)/python -m pytest --durations=20 -m ""

# mypy sees the mapped folders only in a regular install, so it gets one of its own, fresh every time.
quality: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build .venv/typecheck
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target .venv/typecheck .
	@rm -rf build
	MYPYPATH=.venv/typecheck $(BIN)/mypy -p selip
	$(BIN)/python -m pytest -q tests/test_docs.py

style: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: install
	@rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	@rm -rf build

bench: install
	@failed=0; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || failed=1; done; exit $$failed

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov *.egg-info
