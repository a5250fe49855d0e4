# Everything here needs only Python 3.11 or newer, and make. Each target does its own set-up.
#   make test ARGS="-k ledger"     passes arguments on to pytest
#   make test WORKERS=0            runs the tests one after the other, in this process
#   make venv PYTHON=python3.12    chooses the Python (remove .venv first)

.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := uv==0.13.8
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra postgres
ARGS ?=
WORKERS ?= auto

.PHONY: help
help:  ## List these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do printf '  make %-12s %s\n' "$$target" "$$text"; done

.PHONY: venv
venv: $(READY)  ## Create .venv with the locked dependencies and the project in it
	@echo "$(VENV) is ready: $(BIN)/basis --help"

# The stamp is touched last: an interrupted installation is done again.
$(READY): requirements-dev.lock pyproject.toml
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
		for candidate in python3 python3.13 python3.12 python3.11 python3.14; do \
			if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
		done; \
	fi; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 or newer found (python3 is: $$(python3 --version 2>&1)). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	[ -x $(BIN)/python ] || $$python -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "$$python cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	}
	@echo "Installing the locked dependencies into $(VENV) (about a minute the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: demo
demo: $(READY)  ## Synthetic journals in, a Dagster backfill, and equity by portfolio, venue and asset
	@$(BIN)/basis demo

.PHONY: demo-live
demo-live: $(READY)  ## Live mode on a local chain, loopback exchanges and Redis: doctor, updates, two reconciliations (needs npm)
	@$(BIN)/python -m basis_pipeline_tests.rigs.demo_live

.PHONY: ui
ui: $(READY)  ## Open the Dagster UI on the demo's data
	@[ -e data/basis.duckdb ] || $(BIN)/basis --home data demo
	@$(BIN)/basis --home data ui

.PHONY: test
test: $(READY)  ## Run every test, with coverage
	@$(BIN)/coverage erase
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --cov --cov-report= --cov-fail-under=0 $(ARGS)

.PHONY: check
check: lint types definitions test coverage  ## Every quality gate: lint, types, Dagster definitions, tests, coverage

.PHONY: lint
lint: $(READY)  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(READY)  ## mypy --strict on the package
	$(BIN)/mypy

.PHONY: definitions
definitions: $(READY)  ## Load the code location as Dagster will
	PYTHONWARNINGS=ignore::FutureWarning $(BIN)/dagster definitions validate --log-level warning

.PHONY: coverage
coverage: $(READY)  ## Thresholds on what `make test` measured: 90 %, the domain 95 %
	@rm -f .coverage.*  # left by processes that tests killed in mid-write
	$(BIN)/coverage report
	$(BIN)/coverage report --include 'basis_pipeline/domain/*' --fail-under 95

.PHONY: bench
bench: $(READY)  ## Measure speed; prints ratios and the bounds they are held to
	$(BIN)/python benchmarks/run.py $(ARGS)

.PHONY: soak
soak: $(READY)  ## What takes longer: live equity at every hour of all journals, 10,000 updates beside a running Dagster
	BASIS_EVERY_HOUR=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) basis_pipeline_tests/acceptance/test_backtest_is_live.py
	$(BIN)/python benchmarks/run.py soak

.PHONY: lock
lock: $(READY)  ## Resolve the dependencies anew; UPGRADE=--upgrade takes newer versions
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(LOCK) --group dev $(UPGRADE) --output-file requirements-dev.lock
	$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock

.PHONY: clean
clean:  ## Remove .venv, caches and everything the product wrote under data/
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .tmp_dagster_home_*
	find data -mindepth 1 ! -name README.md ! -name .gitignore -delete
	find basis_pipeline basis_pipeline_tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
