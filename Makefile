# `make` sets up .venv; `make demo` runs the main job; `make check` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A folder with Terraform's AWS provider; empty downloads it.
TF_PLUGIN_DIR ?=

.PHONY: setup demo check lint format types layers terraform test test-exhaustive test-fast chaos fuzz sbom bench images clean help
.DEFAULT_GOAL := setup

setup: $(STAMP)  ## make .venv and install everything (2 to 5 minutes, 3 GB)

# A new pip takes half the time of one that came with Python. Uncompiled: most of what is installed
# is never imported, and Python compiles what is.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup  ## a synthetic quarter from an embedded PostgreSQL to firm topics (a few minutes)
	$(BIN)/ftm demo

# Without `terraform`: two tests do the same in the copy that a third needs anyway.
check: setup lint types layers test  ## everything CI checks

lint: setup
	$(BIN)/ruff format --check src tests benchmarks containers
	$(BIN)/ruff check src tests benchmarks containers

format: setup  ## format and mend what can be mended
	$(BIN)/ruff format src tests benchmarks containers
	$(BIN)/ruff check --fix src tests benchmarks containers

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports --no-cache

# In a copy, so that a user's own state, lock file and backend are neither used nor changed.
terraform:  ## format and validity of terraform/, if terraform is installed
	@command -v terraform >/dev/null || { echo "terraform: not installed, skipped"; exit 0; }; \
	set -e; terraform fmt -check -recursive terraform; \
	rm -rf build/terraform; mkdir -p build/terraform; \
	tar -C terraform --exclude='.terraform*' --exclude='*.tfstate*' --exclude=backend.tf -cf - . \
		| tar -C build/terraform -xf -; \
	cd build/terraform/examples/complete; \
	if terraform init -input=false -no-color -backend=false \
		$(if $(TF_PLUGIN_DIR),-plugin-dir=$(abspath $(TF_PLUGIN_DIR))) >init.log 2>&1; \
	then terraform validate; \
	elif grep -q "Failed to query available provider packages" init.log; \
	then echo "terraform: formatted, not validated: the AWS provider is out of reach (TF_PLUGIN_DIR=folder)"; \
	else cat init.log; exit 1; fi

# One process more than two cores: many tests wait for Terraform, servers and jobs.
test: setup  ## every test but the exhaustive ones, in three processes
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not exhaustive"

# Long sweeps over what cheaper tests prove on a few seeds.
test-exhaustive: setup  ## what CI has no time for
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m exhaustive

# Damage to stored objects and junk for parsers: N times the inputs of CI, other ones each time.
fuzz: setup  ## make fuzz N=150: about 20,000 inputs for each parser (hours)
	FTM_FUZZ=$(or $(N),150) $(BIN)/python -m pytest -n 2 --timeout 0 \
		tests/unit/test_fuzz_parsers.py tests/unit/test_corruption.py

# Every package that runs here, with versions and licences, as CycloneDX JSON.
sbom: setup  ## build/sbom.json, from what is installed in .venv
	mkdir -p build
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file build/sbom.json $(BIN)/python
	sed -i.bak 's|"file://[^"]*"|"file:///ftm"|' build/sbom.json && rm build/sbom.json.bak

test-fast: setup  ## what a pre-commit can wait for
	$(BIN)/python -m pytest -n 2 -m "not slow"

# ONLY=prefetch,map chooses; SEED repeats a run whose seed was printed.
chaos: setup  ## kill every stage N times at random and compare (N=200: hours)
	$(BIN)/python -m tests.chaos -n $(or $(N),200) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

bench: setup  ## figures for docs/benchmarks.md (about 20 minutes)
	$(BIN)/python -m benchmarks

# Make hands the variables of its command line on; containers/README.md explains them.
images:  ## the map image: make images BASE=name@sha256:digest [DEVICE=cpu|gpu] (2 to 5 minutes)
	@containers/build

clean:
	rm -rf $(VENV) build dist ftm-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
