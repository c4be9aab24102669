# What a developer types. Each target works alone on a fresh clone: Python 3.11, pip, make and a C compiler will do.
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
COMPLETED := .venv/.completed
AUDITOR := .venv/audit/.installed

.PHONY: help demo demo-campaign up dev test test-unit test-security rehearse profile check format locks audit sbom release images-check toolchain
.DEFAULT_GOAL := help

help:
	@echo 'make demo       render one video on a local stack, then stop it'
	@echo 'make demo-campaign  render 24 videos under one template, kill a worker meanwhile, verify the manifest'
	@echo 'make up         serve the local stack until Ctrl-C'
	@echo 'make dev        the same, and start parts again when their source is saved'
	@echo 'make test       every test, on real parts'
	@echo 'make test-unit  the pure ones, in seconds'
	@echo 'make test-security  attacks of tenants on each other, each a test'
	@echo 'make rehearse   models of true size with random weights, loaded and rendered here (MODELS="...")'
	@echo 'make profile    flame graphs of a stack under load, plans of its statements (PROFILE="--pid N")'
	@echo 'make check      ruff, mypy, the import contracts; of the console biome and tsc, once .ci/console-tools was run'
	@echo 'make format     mend layout and imports'
	@echo 'make audit      ask about known vulnerabilities of all that is pinned (AUDIT="--osv-url URL")'
	@echo 'make sbom       what is installed in .venv and beside it, as CycloneDX, into dist/'
	@echo 'make release    images, SBOMs, chart and checksums of this commit, into dist/ (ENGINE=docker|podman|buildah)'
	@echo 'make images-check  build both images here by buildah and try them (CHECK="--twice")'
	@echo 'make locks      write deploy/locks/ anew (CPU_WHEELS=folder or index of torch for CPUs)'

demo: $(INSTALLED)
	@$(BIN)/cogmill demo

demo-campaign: $(INSTALLED)
	@$(BIN)/cogmill demo-campaign

up: $(INSTALLED)
	@$(BIN)/cogmill up

dev: $(INSTALLED)
	@$(BIN)/cogmill up --reload

# Three beside each other on two cores: much of a test's time is waiting for the parts that it has started.
test: $(COMPLETED)
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-unit: $(INSTALLED)
	@$(BIN)/pytest tests/unit tests/architecture

test-security: $(INSTALLED)
	@$(BIN)/pytest tests/security

# Writes up to 31 GB for each model of MODELS, and removes it; REHEARSE has options of the script.
rehearse: $(INSTALLED)
	@$(BIN)/python tests/benchmarks/rehearse.py $(REHEARSE) $(MODELS)

# Writes into profile/; PROFILE has options of the script.
profile: $(INSTALLED)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/benchmarks/profiling.py $(PROFILE)

check: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@.ci/check-console "$${XDG_CACHE_HOME:-$$HOME/.cache}/cogmill-tools"

format: $(INSTALLED)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@.ci/check-console "$${XDG_CACHE_HOME:-$$HOME/.cache}/cogmill-tools" --write

# uv writes hashes of all files of a release, which pip does not.
locks: $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target .venv/locks 'uv==0.13.9'
	@UV=.venv/locks/bin/uv CPU_WHEELS='$(CPU_WHEELS)' deploy/release/locks.sh

# Fails also when the service cannot be asked; with AUDIT=--if-reachable it then says so and does not.
audit: $(AUDITOR)
	@PYTHONPATH=.venv/audit $(BIN)/python deploy/release/audit.py $(AUDIT)

sbom: $(INSTALLED)
	@mkdir -p dist
	@$(BIN)/python deploy/release/sbom.py cogmill-environment "$$(git rev-parse HEAD)" "$$(git log -1 --format=%ct)" \
		> dist/environment.cdx.json
	@echo "dist/environment.cdx.json: $$(grep -c '"purl"' dist/environment.cdx.json) packages"

# These two need no environment, only Python 3.11; CHECK has options of the script.
release:
	@$(PYTHON) deploy/release/release.py

images-check:
	@$(PYTHON) deploy/release/check.py $(CHECK)

# The environment is made anew whenever what it is made of has changed.
$(INSTALLED): pyproject.toml api/client/pyproject.toml constraints.txt | toolchain
	@echo 'installing into .venv (the first time takes minutes: PyTorch is large)'
	@$(PYTHON) -m venv .venv || { echo 'make: python has no venv module; on Debian: apt install python3.11-venv' >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check 'pip==26.3'
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --build-constraint constraints.txt \
		-e '.[worker,local]' -e ./api/client --group dev
	@touch $@

# What only some tests use, in a folder that they look into: found by all, it would make every worker's start slower.
$(COMPLETED): $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade --target .venv/extra torchao
	@touch $@

# In a folder of its own, since what it brings is not what we run.
$(AUDITOR): deploy/locks/audit.txt | $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade --target .venv/audit \
		--requirement deploy/locks/audit.txt
	@touch $@

toolchain:
	@test -n '$(PYTHON)' && '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'make: Python 3.11 or newer is needed and was not found; PYTHON=/path/to/python names one' >&2; exit 1; }
	@command -v "$${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || \
		{ echo 'make: a C compiler is needed and was not found; on Debian: apt install gcc' >&2; exit 1; }
