# canteen-access. `make` lists what can be asked.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
PACKAGES := canteen hand_geometry templates_store firmware_bridge sync terminal enrollment_station billing_server demo benchmarks
PORT ?= 8000
WORKERS ?= 2

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the whole canteen on this machine, in the browser (HANDS=folder, PORT=first of five ports)
	@./setup.sh demo
	@exec .venv/bin/canteen-demo --port $(PORT) $(if $(HANDS),--hands "$(HANDS)")

demo-clean: ## forget what the demonstration has kept
	@./setup.sh demo
	@.venv/bin/canteen-demo --clean

setup: ## only set up: Debian packages and .venv
	@./setup.sh dev

test: setup ## everything: the checks, then all tests (set up included)
	@$(MAKE) --no-print-directory check
	$(PY) -m pytest -q -n $(WORKERS) --dist loadfile

test-fast: setup ## without the slow ring and the browser
	$(PY) -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow and not browser"

check: setup ## ruff, mypy strict, the floors
	$(PY) -m ruff format --check -q .
	$(PY) -m ruff check -q .
	$(PY) -m mypy $(PACKAGES) tests
	.venv/bin/lint-imports

messages: setup ## compile the catalogues
	@for package in hand_geometry sync terminal enrollment_station billing_server firmware_bridge demo benchmarks; do \
	  $(PY) -m babel.messages.frontend -q compile -d $$package/locale -D messages; done
	@$(PY) -m babel.messages.frontend -q compile -d canteen/locale -D argparse

lock: setup ## make the hashed locks again from pyproject.toml
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  pyproject.toml --extra dev -o requirements-dev.lock
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  pyproject.toml --extra terminal --extra station --extra server --extra demo -c requirements-dev.lock \
	  -o requirements.lock

bench: setup ## the way of one pass, as ratios
	.venv/bin/canteen-bench pass

.PHONY: help demo demo-clean setup test test-fast check messages lock bench
