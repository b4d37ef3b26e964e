# Run `make` to see what there is to run. Everything works from a fresh clone: the first target that needs
# Python makes .venv from requirements-dev.lock, every package checked against its hash.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Nothing is resolved: with --no-deps pip installs the lock and nothing else, whatever the index offers that day.
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

# A cluster of your own is used only when named on the command line, never because a shell happens to export one.
ifeq ($(origin KUBECONFIG),command line)
export KUBECONFIG
else
unexport KUBECONFIG
endif

.PHONY: help
help: ## Say what there is to run (this list)
	@echo "make demo KUBECONFIG=~/.kube/config runs the demo on a cluster you have; all else uses a local one."; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: venv ## From nothing to real predictions: cluster, operator, model, requests
	$(BIN)/python -m devcluster.demo

.PHONY: test
test: venv ## Everything that must pass before a change lands; RECORD=1 keeps its times
	$(BIN)/python -m tests.suite $(if $(RECORD),--record)

.PHONY: test-unit
test-unit: venv ## The tests of every decision, with their coverage
	$(BIN)/pytest tests/unit --numprocesses=auto --dist=worksteal --cov --cov-report=term

.PHONY: test-stores
test-stores: venv ## The fetch step against a real S3 server
	@# A file at a time: each starts a server of its own.
	$(BIN)/pytest tests/stores --numprocesses=auto --dist=loadfile

.PHONY: test-sim
test-sim: venv ## The tests in simulated clusters, and of the charts as they render
	$(BIN)/pytest tests/sim tests/chart -m "not acceptance" --numprocesses=auto --dist=worksteal

.PHONY: test-cluster
test-cluster: venv ## The tests against a real API server without nodes
	@# They wait more than they work: two for each core.
	$(BIN)/pytest tests/cluster -m "not acceptance" --numprocesses=$$((2 * $$(nproc))) --dist=worksteal

.PHONY: test-e2e
test-e2e: venv ## The tests with real pods, Triton, gateway and Prometheus
	@# Two modules at a time: they wait more than they work.
	$(BIN)/pytest tests/e2e -m "not acceptance" -p no:randomly --numprocesses=2 --dist=loadfile --no-loadscope-reorder \
	  --durations=0 --durations-min=2

.PHONY: test-devcluster
test-devcluster: venv ## The tests of the local cluster itself; when devcluster/ changes
	$(BIN)/pytest tests/devcluster -p no:randomly

.PHONY: test-acceptance
test-acceptance: test-devcluster ## All that takes too long for each change: faults, crashes, soak; before a release
	$(BIN)/pytest tests/sim tests/cluster -m acceptance --numprocesses=auto --dist=worksteal
	$(BIN)/pytest tests/e2e -m acceptance -p no:randomly --durations=0 --durations-min=2

.PHONY: test-builds
test-builds: venv # Build what tests with a cluster need, while others run
	nice -n 19 $(BIN)/python -m tests.ahead build

.PHONY: test-bring-up
test-bring-up: venv # Bring up the end-to-end tests' cluster, which they stop at their end
	$(BIN)/python -m tests.ahead bring-up

.PHONY: lint
lint: venv generated ## ruff, mypy --strict, import contracts, generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: generated
generated: venv # Fail when a generated file is not what its source says
	$(BIN)/python -m tritonfleet.api.schema --check
	$(BIN)/python docs/tools/architecture.py --check
	$(BIN)/python docs/tools/phases.py --check

.PHONY: format
format: venv ## Format the code and apply what ruff can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: cluster
cluster: venv ## A real Kubernetes on this machine (root, Debian); the first time builds it
	$(BIN)/python -m devcluster up

.PHONY: cluster-down
cluster-down: venv ## Stop the local cluster and leave nothing of it
	$(BIN)/python -m devcluster down

.PHONY: image
image: cluster ## Build the operator's image and load it into the local cluster
	$(BIN)/python -m devcluster build-image --tag docker.io/tritonfleet/operator:dev

.PHONY: bench-fleet
bench-fleet: venv ## 200 and 1,000 ModelDeployments at once: times, requests, CPU and memory
	$(BIN)/python -m benchmarks.fleet

TRACES ?=

.PHONY: bench-autoscale
bench-autoscale: venv ## Our scaler against HPA, KEDA, KPA and a clairvoyant; TRACES=folder adds real traces
	$(BIN)/python -m benchmarks.autoscale $(if $(TRACES),--traces $(TRACES))

.PHONY: bench-tick
bench-tick: venv ## One tick for 1,000 ModelDeployments with 5,000 pods: CPU and queries
	$(BIN)/python -m benchmarks.tick

.PHONY: bench-fetch
bench-fetch: venv ## The fetch step beside obstore and curl, from an S3 server on loopback (on a quiet machine)
	$(BIN)/python -m benchmarks.fetch

.PHONY: bench-fidelity
bench-fidelity: venv ## The simulator beside a real Triton on the same arrivals (root; on a quiet machine)
	$(BIN)/python -m benchmarks.fidelity

.PHONY: bench-analysis
bench-analysis: venv ## How often the analysis of a canary is wrong, beside threshold rules
	$(BIN)/python -m benchmarks.analysis

.PHONY: crds
crds: venv ## Write the CRD from the API's models
	$(BIN)/python -m tritonfleet.api.schema --write

.PHONY: docs
docs: crds ## Write the generated parts of the documentation
	$(BIN)/python docs/tools/architecture.py
	$(BIN)/python docs/tools/phases.py

LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet

.PHONY: lock
lock: venv ## Pin the newest dependencies that pyproject.toml allows
	$(LOCK) --upgrade --output-file requirements.lock
	$(LOCK) --upgrade --extra simulate --extra validate --group dev --constraint requirements.lock --output-file requirements-dev.lock

.PHONY: venv
venv: $(VENV)/.ready ## Make .venv with everything the other targets use

$(VENV)/.ready: requirements-dev.lock
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv; } \
	  || { echo "Python with its venv module is needed: as root, apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make venv PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(VENV), about a minute"
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	{ $(PYTHON) -m venv --clear $(VENV) \
	  && $(PIP_INSTALL) --no-deps --require-hashes --requirement requirements-dev.lock \
	  && $(PIP_INSTALL) --no-deps --no-build-isolation --editable . \
	  && $(BIN)/pip check --disable-pip-version-check \
	  && $(BIN)/python devcluster/lockcheck.py requirements-dev.lock --besides tritonfleet; } >"$$log" 2>&1 \
	|| { { echo "Making $(VENV) failed: Python packages could not be installed as requirements-dev.lock says. Seen:"; \
	  grep -vE '^(Traceback| |$$)' "$$log" | tail -n 6 | cut -c1-400; \
	  echo "Is there space on the disk (df -h .), and is the package index reached (pip config list)? To go on: run make again."; \
	  } >&2; exit 1; }
	@touch $@

.PHONY: clean
clean: ## Remove what was built in this checkout (the cache of built binaries stays)
	rm -rf $(VENV) dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
