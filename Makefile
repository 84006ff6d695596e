# Every command of this project. The Python environment is made on first use and renewed when its inputs
# change: VENV=some/where puts it elsewhere, PYTHON=python3.12 chooses the interpreter. ARGS goes on to pytest.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2
ARGS ?=
# Each worker begins with its own half, which is one PostgreSQL major for the most part, so that servers and templates
# are made once; who is done takes from the others.
XDIST := -n $(WORKERS) --dist worksteal

# The same answers from every machine: no chatter about pip itself, no notices of newer versions.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1
# Tests start servers and read their messages, which are translated otherwise.
export LC_ALL := C.UTF-8

.DEFAULT_GOAL := help
.PHONY: help demo test test-full consistency consistency-plants consistency-peers bench lint format build check-wheel \
	docs-check constraints clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## start a private PostgreSQL and watch the cache at work
	@$(BIN)/meshcache demo

test: $(INSTALLED) ## run the tests on every PostgreSQL major that is found
	@$(BIN)/pytest $(XDIST) -m 'not slow' $(ARGS)

test-full: $(INSTALLED) ## the same with the slow tests
	@$(BIN)/pytest $(XDIST) $(ARGS)

# Minutes on each major. SEED=, PG=15,18 and JSON=report.json go on to the command.
consistency: $(INSTALLED) ## try to break the promise: MINUTES=10 PG=15,18 SEED=1 JSON=file, all optional
	@$(BIN)/python -m tests.consistency.harness --minutes $(or $(MINUTES),2) \
		$(if $(PG),--pg $(PG)) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON)) $(ARGS)

consistency-peers: $(INSTALLED) ## other ways to keep a cache under the same checker: MINUTES=1 for each, PG=18 SEED=1 JSON=file
	@$(BIN)/python -m tests.consistency.harness.peers --minutes $(or $(MINUTES),1) \
		$(if $(PG),--pg $(PG)) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON)) $(ARGS)

consistency-plants: $(INSTALLED) ## see whether it finds planted mistakes: PG=15,18 SEED=1 JSON=file, all optional
	@$(BIN)/python -m tests.consistency.harness.planting \
		$(if $(PG),--pg $(PG)) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON)) $(ARGS)

# Figures of all groups go to benchmarks/results/latest.json and docs/reference/performance.md, unless
# ARGS=--no-write.
bench: $(INSTALLED) ## measure against the bars and what people use instead: MINUTES=30 ONLY=hits,writers PG=18 SEED=1
	@$(BIN)/python -m benchmarks --minutes $(or $(MINUTES),30) \
		$(if $(ONLY),--only $(ONLY)) $(if $(PG),--pg $(PG)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: $(INSTALLED) ## style, SQL, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --disable-progress-bar sql
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## bring the Python code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(INSTALLED) ## sdist and wheel into dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist

check-wheel: build ## install the wheel in an empty environment and run it there
	@VENV_PYTHON=$(abspath $(BIN)/python) .ci/check_wheel.sh

docs-check: $(INSTALLED) ## links, anchors and reachability of the documentation
	@$(BIN)/python .ci/check_docs.py

constraints: ## pin the newest versions that pyproject.toml allows
	@.ci/pin_versions.sh

clean: ## remove what builds and tools leave behind (the environment stays)
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements/constraints.txt
	@.ci/make_venv.sh "$(VENV)"
	@touch $@
