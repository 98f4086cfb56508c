# `make demo` and `make test` are all a newcomer needs; both install into .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= report
# One thread per process: pytest runs two processes, and small matrices gain nothing from more.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help install demo test slow lint format clean

help:
	@echo "make demo     audit the bundled networks and write $(OUT)/report.html"
	@echo "make test     ruff, the floors test and the test suite without the slow tests"
	@echo "make slow     the slow tests"
	@echo "make lint     ruff and pyright"
	@echo "make format   let ruff put the source in order"
	@echo "make install  .venv with the package and its development tools (the other targets do it by themselves)"
	@echo "make clean    remove .venv, reports and caches"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/intertwiner demo --out $(OUT)

test: $(STAMP)
	$(BIN)/ruff check .
	$(ONE_THREAD) $(BIN)/python -m pytest -q tests/test_floors.py
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

slow: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OUT) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
