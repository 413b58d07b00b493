# `make help` lists the targets. Every target that needs the packages runs `setup` first, which is a second when all is there.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
MEMBERS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml)))
MIGRATIONS := $(wildcard services/*/migrations/*.sql libs/*/src/*/migrations/*.sql)
# What tests import by name, as pytest's `pythonpath` says it too.
export MYPYPATH := libs/bus/tests:tests/support
# Arguments for the command behind a target: make up ARGS="--feed replay", make test ARGS=libs/bus.
ARGS ?=

.PHONY: help setup up down status logs reset demo test test-long test-e2e lint audit check bench lock calendars migrate new-adr

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install everything into .venv and .fleet/jars (a second run works offline)
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) was found. Install Python 3.11 or newer, or name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) scripts/setup.py $(if $(filter file,$(origin PYTHON)),--any)

up: setup ## Start the fleet in the background on a simulated market; says what to try
	@$(BIN)/fleet up $(ARGS)

down: setup ## Drain and stop the fleet; its data stays
	@$(BIN)/fleet down $(ARGS)

status: setup ## Show what runs, where, since when
	@$(BIN)/fleet status $(ARGS)

logs: setup ## Show the end of all logs, or of one: make logs SERVICE=trading; ARGS=-f follows
	@$(BIN)/fleet logs $(SERVICE) $(ARGS)

reset: setup ## Stop the fleet and delete its data (asks first)
	@$(BIN)/fleet reset $(ARGS)

demo: setup ## Replay two years of real bars through the whole fleet and check the books
	@$(BIN)/fleet demo $(ARGS)

# One shared stack (.fleet/test) serves all tests and is stopped at the end, whatever became of them.
STOP_STACK = trap '$(BIN)/python -m fleet_launcher.stack --state-dir .fleet/test down' EXIT

# Two at a time, for they wait more than they compute; the whole fleets, which come after one another, begin at once.
test: setup ## Run the tests that CI runs; make test ARGS=libs/bus runs some of them
	@$(STOP_STACK); $(BIN)/pytest -m "not long" -n 2 --no-loadscope-reorder $(or $(ARGS),tests libs services)

test-long: setup ## The long tests: kills, stops, halts and outages; many minutes
	@$(STOP_STACK); $(BIN)/pytest -m long $(or $(ARGS),libs services tests)

test-e2e: setup ## Only the tests of the whole fleet, through the gateway and the command
	@$(STOP_STACK); $(BIN)/pytest -m e2e $(or $(ARGS),libs services tests)

BANDIT = $(BIN)/bandit -c pyproject.toml -q -ll -r $(addsuffix /src,$(MEMBERS)) bench scripts conftest.py

SECRETS = git ls-files -coz --exclude-standard | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

lint: setup ## Format, ruff, secrets, bandit, mypy, import rules, contracts, permissions, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(SECRETS)
	$(BANDIT)
	$(BIN)/mypy $(addsuffix /src,$(MEMBERS)) conftest.py scripts
	$(BIN)/mypy --explicit-package-bases bench tests/support
	@for tests in $(wildcard $(addsuffix /tests,$(MEMBERS)) tests/*/ ); do \
		[ -z "$$(find $$tests -name 'test_*.py' -print -quit)" ] || { echo "mypy $$tests"; $(BIN)/mypy $$tests; }; done
	$(BIN)/lint-imports
	$(BIN)/python -m fleet_contracts.check
	$(BIN)/python scripts/permissions.py
	$(BIN)/squawk $(MIGRATIONS)

# Advisories that cannot be had are a failure: without --strict pip-audit says that there are none.
audit: setup ## Secrets in the repository, weaknesses in the code, advisories about packages (needs PyPI)
	$(SECRETS)
	$(BANDIT)
	@$(BIN)/uv run -q --no-project --isolated --with pip-audit==2.10.1 \
		pip-audit --strict --disable-pip --require-hashes -r requirements.lock || \
		{ echo "error: a package has a hole, or no advisories could be had: see above" >&2; exit 1; }

check: lint test ## Lint and tests, as CI runs them

bench: setup ## Measure the fleet; writes bench/results.json
	@PYTHONPATH=.:tests/support:libs/bus/tests $(BIN)/python -m bench $(ARGS)

lock: setup ## Resolve the dependencies anew into requirements.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header \
		$(foreach member,$(MEMBERS),--no-emit-package fleet-$(notdir $(member))) \
		--python-version 3.11 -o requirements.lock pyproject.toml $(addsuffix /pyproject.toml,$(MEMBERS)) --group dev
	@git diff --stat requirements.lock

calendars: setup ## Write the packaged tables of exchanges that exchange_calendars knows
	@$(BIN)/uv run -q --no-project --isolated --with exchange_calendars==4.13.2 python scripts/calendars.py

migrate: setup ## Bring the databases of the running fleet up to date
	@$(BIN)/fleet migrate $(ARGS)

new-adr: export TITLE := $(TITLE)
new-adr: ## Start a decision record: make new-adr TITLE="Why we do it so"
	@[ -n "$$TITLE" ] || { echo 'error: say what is decided: make new-adr TITLE="Why we do it so"' >&2; exit 1; }
	@last=$$(ls docs/adr | grep -oE '^[0-9]{4}' | sort | tail -1 || true); \
	number=$$(printf '%04d' $$((10#$${last:-0} + 1))); \
	slug=$$(printf '%s' "$$TITLE" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/^-//; s/-$$//'); \
	file="docs/adr/$$number-$$slug.md"; \
	printf '# %s. %s\n\n**Context.** \n\n**Decision.** \n\n**Consequences.** \n\n**Check.** \n\n**Revisit when** \n' "$$number" "$$TITLE" > "$$file"; \
	echo "$$file"
