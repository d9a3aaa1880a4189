# `make help` lists what there is. .venv serves and holds no PyTorch, .venv-dev tests, trains and exports; .venv-bench holds
# the servers that ours is compared with, .venv-stores the vector stores, .venv-clients the clients of others that bring
# much with them.

PYTHON ?= python3
PORT ?= 8000
ARGS ?=
COMPUTING := $(addprefix tests/,contract export training $(addprefix amcl_serve/,client commands evaluation http/routes http/test_contract.py jobs \
	metrics vectors))# on one core each; the others watch clocks, and run alone
PIP := -m pip install --disable-pip-version-check -q
DEV := .venv-dev/bin

.DEFAULT_GOAL := help
.PHONY: help install serve test test-slow check docs client openapi bench-model bench-training bench-serving bench-overload bench-retrieval bench-stores soak \
	fuzz chromium nginx wrk clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

install: .venv/.stamp ## make .venv, which serves: no PyTorch in it

serve: .venv/.stamp ## run the API and the page: make serve PORT=8000 ARGS="--precision fp16"
	.venv/bin/python -m app --port $(PORT) $(ARGS)

test: .venv-dev/.stamp chromium nginx ## run the tests that are not slow
	$(DEV)/python -m pytest -m "not slow" -n 2 --dist loadfile $(COMPUTING)
	$(DEV)/python -m pytest -m "not slow" $(COMPUTING:%=--ignore=%)

test-slow: .venv-dev/.stamp .venv-clients/.stamp chromium nginx ## run the slow tests
	$(DEV)/python -m pytest -m slow

check: .venv-dev/.stamp docs ## style, types, import rules, no registry host in any file, links of the docs
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	$(DEV)/lint-imports
	@! git grep -nIE 'pypi[.]org|pythonhosted[.]org|npmjs[.](org|com)|deb[.]debian[.]org|[-]-(extra-)?index-url' \
	  || { echo 'check: the lines above name a package registry'; exit 1; }

docs: .venv-dev/.stamp ## the documentation as a site in site/, its links checked
	$(DEV)/python -m scripts.site

client: .venv-dev/.stamp ## generate the blocking client from the awaited one
	$(DEV)/python -m scripts.blocking_client

openapi: .venv-dev/.stamp ## write the HTTP interface into tests/amcl_serve/http/openapi.json, which a test compares it with
	UPDATE_OPENAPI=1 $(DEV)/python -m pytest tests/amcl_serve/http/test_app.py -k openapi_is

bench-model: .venv-dev/.stamp ## recompute the figures on the default bundle's card
	$(DEV)/python -m benchmarks.study.model $(ARGS)

bench-training: .venv-dev/.stamp ## measure how fast training is, against its own steps and lightly: ARGS="--table"
	$(DEV)/python -m benchmarks.training $(ARGS)

bench-serving: .venv-bench/.stamp wrk ## measure how fast the server is, against others and its bound: ARGS="--only peers"
	.venv-bench/bin/python -m benchmarks.serving $(ARGS)

bench-overload: .venv-dev/.stamp ## offer a server four times what it can do: ARGS="--seconds 60"
	$(DEV)/python -m benchmarks.serving.overload $(ARGS)

bench-retrieval: .venv-dev/.stamp ## measure how fast collections are, against FAISS by itself: ARGS="--points 1000000"
	$(DEV)/python -m benchmarks.retrieval $(ARGS)

bench-stores: .venv-stores/.stamp ## compare collections with other embedded vector stores: ARGS="--points 50000"
	.venv-stores/bin/python -m benchmarks.retrieval.peers $(ARGS)

soak: .venv-dev/.stamp ## half an hour of mixed load, and what memory it costs: ARGS="--minutes 30"
	$(DEV)/python -m benchmarks.serving.soak $(ARGS)

fuzz: .venv-dev/.stamp ## decode damaged files of every kind: no crash of a server: ARGS="--files 200000 --seed 0"
	$(DEV)/python -m benchmarks.fuzz $(ARGS)

chromium:
	@$(call debian,chromium,for the browser tests,without it they are skipped)

nginx:
	@PATH=$$PATH:/usr/sbin; $(call debian,nginx,for the test of a proxy,without it that is skipped)

wrk:
	@$(call debian,wrk,which sends the load,without it nothing can be measured)

# The Debian package $(1), whose command has the same name: installed where it is missing and that is allowed. A service in
# it is not started (RUNLEVEL=1).
define debian
command -v $(1) >/dev/null || { \
  echo 'make: installing $(1), $(2)'; \
  if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; \
  else echo 'make: $(1) is missing, and this is neither root nor sudo; $(3)'; exit 0; fi; \
  $$as apt-get update -qq && $$as env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }
endef

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

.venv-bench/.stamp: requirements/bench-serving.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python $(PIP) -r requirements/bench-serving.txt
	@touch $@

.venv-stores/.stamp: requirements/bench-stores.txt
	$(PYTHON) -m venv .venv-stores
	.venv-stores/bin/python $(PIP) -r requirements/bench-stores.txt
	@touch $@

# What .venv-dev has, PyTorch first of all, is not installed a second time: it is found there, behind what this one has.
.venv-clients/.stamp: requirements/clients.txt .venv-dev/.stamp
	$(DEV)/python -m venv --without-pip .venv-clients
	$(DEV)/python -c "import sysconfig as s; d = '.venv-clients'; \
	  p = s.get_path('purelib', vars={'base': d}); print(s.get_path('purelib'), file=open(p + '/dev.pth', 'w'))"
	.venv-clients/bin/python $(PIP) --no-deps -r requirements/clients.txt
	.venv-clients/bin/python -m pip check
	@touch $@

clean: ## remove the environments and every cache
	rm -rf .venv .venv-dev .venv-bench .venv-clients .venv-stores build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
