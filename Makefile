# `make help` lists what there is. Two environments: .venv serves and holds no PyTorch, .venv-dev tests, trains and exports.

PYTHON ?= python3
PORT ?= 8000
ARGS ?=
PIP := -m pip install --disable-pip-version-check -q
DEV := .venv-dev/bin

.DEFAULT_GOAL := help
.PHONY: help install serve test test-slow check bench-model bench-training bench-overload soak chromium clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

install: .venv/.stamp ## make .venv, which serves: no PyTorch in it

serve: .venv/.stamp ## run the API and the page: make serve PORT=8000 ARGS="--precision fp16"
	.venv/bin/python -m app --port $(PORT) $(ARGS)

test: .venv-dev/.stamp chromium ## run the tests that are not slow
	$(DEV)/python -m pytest -m "not slow"

test-slow: .venv-dev/.stamp chromium ## run the slow tests
	$(DEV)/python -m pytest -m slow

check: .venv-dev/.stamp ## style, types, import rules, no registry host in any file
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	$(DEV)/lint-imports
	@! git grep -nIE 'pypi[.]org|pythonhosted[.]org|npmjs[.](org|com)|deb[.]debian[.]org|[-]-(extra-)?index-url' \
	  || { echo 'check: the lines above name a package registry'; exit 1; }

bench-model: .venv-dev/.stamp ## recompute the figures on the default bundle's card
	$(DEV)/python -m benchmarks.model $(ARGS)

bench-training: .venv-dev/.stamp ## measure how fast training is, against its own steps and lightly: ARGS="--table"
	$(DEV)/python -m benchmarks.training $(ARGS)

bench-overload: .venv-dev/.stamp ## offer a server four times what it can do: ARGS="--seconds 60"
	$(DEV)/python -m benchmarks.overload $(ARGS)

soak: .venv-dev/.stamp ## half an hour of mixed load, and what memory it costs: ARGS="--minutes 30"
	$(DEV)/python -m benchmarks.soak $(ARGS)

chromium:
	@command -v chromium >/dev/null || { \
	  echo 'make: installing chromium for the browser tests'; \
	  if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; \
	  else echo 'make: neither root nor sudo; without chromium the browser tests are skipped'; exit 0; fi; \
	  $$as apt-get update -qq && $$as apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

.venv/.stamp: requirements/serve.txt pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -r requirements/serve.txt
	.venv/bin/python $(PIP) --no-deps -e .
	@touch $@

.venv-dev/.stamp: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python $(PIP) -r requirements/dev.txt
	.venv-dev/bin/python $(PIP) --no-deps -e .
	@touch $@

clean: ## remove both environments and every cache
	rm -rf .venv .venv-dev build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
