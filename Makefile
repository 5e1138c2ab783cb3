# GNU make 3.81 or newer and a Python 3.11, 3.12 or 3.13; everything else is set up by the first target that needs it.
.DEFAULT_GOAL := help
.PHONY: help run demo token test test-full lint types simulate simulate-mutants mutation setup setup-run setup-dev clean

ROLE ?= admin
VENUE ?= v1
SUB ?= u1
N ?= 200
SEEDS ?= 20000
export ROLE VENUE SUB N SEEDS
PY := .venv/bin/python

help: ## what can be done here
	@echo 'A ticketing platform'"'"'s slow and dangerous work, done once. Start with: make run'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' Makefile

run: setup-run ## the whole service on this machine: API, consumers, embedded AWS (PORT=8000, PERSIST=0 forgets, AWS=localstack)
	@exec $(PY) -m local.run --with-parent

demo: setup-run ## an on-sale of N buyers on a stack of its own, checked against the ledger of effects (N=200)
	@exec $(PY) -m local.demo

token: setup-run ## a token for the local stack, and nothing else, on stdout (ROLE=admin VENUE=v1 SUB=u1)
	@exec $(PY) -m local.token

test: setup-dev ## lint, types and every suite with its figures, within 10 minutes on 2 cores
	@exec $(PY) -m local.checks

test-full: setup-dev ## the same with the long figures: a million schedules, 2,000 killed workers
	@QS_FULL=1 exec $(PY) -m local.checks

lint: setup-dev ## ruff: rules and format
	@$(PY) -m ruff check && $(PY) -m ruff format --check

types: setup-dev ## mypy, strict
	@exec $(PY) -m mypy

simulate: setup-dev ## the simulator over SEEDS=20000 schedules, or SEED=A-123 for one with its trace
	@exec $(PY) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

simulate-mutants: setup-dev ## planted protocol bugs, each caught within SEEDS=20000 schedules
	@exec $(PY) -m tests.simulation --mutants --seeds $(SEEDS)

mutation: setup-dev ## how many planted changes of the core its fast tests notice: at least 85 %, in five minutes or so
	@exec $(PY) -m local.mutation

setup: setup-dev ## what all of these do first where it is needed: .venv and .venv-aws, by pip

setup-run:
	@sh local/setup.sh run

setup-dev:
	@sh local/setup.sh dev

clean: ## forget the local stack's state and the caches (keeps .venv and .venv-aws)
	@rm -rf .local/state .local/demo .local/endpoints.json .local/jwt-secret build .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
