# Start with `make demo` or `make test`. `make` alone lists all targets.
PYTHON ?= python3
BIN := .venv/bin
# Small thread pools: the tests run next to a broker.
TEST_ENV := OMP_NUM_THREADS=2 TOKENIZERS_PARALLELISM=true HF_HUB_OFFLINE=1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-search stop bench-engine bench-stream bench-delivery bench-backfill bench-scale test test-faults test-docker fuzz audit check docs format
.PHONY: generate pictures lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/made ## make the virtual environment .venv from the locked versions (CPU=1: without CUDA, from TORCH_INDEX=)

# PyTorch's index of CPU wheels. Its files are not in the lock, so they are not verified by hash.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on

# Made at the first use, and made again only if the lock changes.
.venv/made: requirements.lock
	@echo "making .venv from requirements.lock: $(if $(CPU),about 1.5 GB; 2 to 4 minutes,about 6 GB with CUDA, of which 3 GB are downloaded; 3 to 6 minutes (CPU=1: without CUDA))"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gist-stream needs Python 3.11 or newer")'
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(PYTHON) -m worker.model.backends.native.build || echo "the first start tries again" & \
	if [ -n "$(CPU)" ]; then \
	  $(PYTHON) .ci/lock.py --without-cuda >.venv/cpu.txt && \
	  { $(PIP) --no-deps --index-url "$(TORCH_INDEX)" "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.lock)" || \
	    { echo "no CPU build of torch at $(TORCH_INDEX): name another index, TORCH_INDEX=..., or run make setup without CPU=1" >&2; exit 1; }; } && \
	  $(PIP) --no-deps --require-hashes -r .venv/cpu.txt; \
	else $(PIP) --require-hashes -r requirements.lock; fi && wait
	@$(PIP) --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

demo: .venv/made ## run Kafka, a worker and messages on this machine (KEEP=1: leave them running)
	@$(if $(KEEP),$(MAKE) --no-print-directory stop && rm -rf .demo/kafka)
	@$(BIN)/gist-stream demo $(if $(KEEP),--keep) $(ARGS)

demo-search: .venv/made ## run texts, a worker, Kafka Connect and PostgreSQL on this machine, and search in SQL
	@$(BIN)/gist-stream demo-search $(ARGS)

stop: ## end what `make demo KEEP=1` left running
	@for name in console worker kafka; do if [ -f .demo/$$name.pid ]; then kill $$(cat .demo/$$name.pid) 2>/dev/null || true; rm .demo/$$name.pid; fi; done

bench-engine: .venv/made ## compare the engine with other libraries (ARGS="--quick": two minutes)
	@$(BIN)/gist-stream bench engine $(ARGS)

bench-stream: .venv/made ## measure the worker with the broker in the loop (ARGS="--quick": two minutes)
	@$(BIN)/gist-stream bench stream $(ARGS)

bench-delivery: .venv/made ## compare exactly once with at least once (ARGS="--quick": two minutes)
	@$(BIN)/gist-stream bench delivery $(ARGS)

bench-scale: .venv/made ## measure replicas, partitions and rebalances (ARGS="--quick": a short run)
	@$(BIN)/gist-stream bench scale $(ARGS)

bench-backfill: .venv/made ## measure live latency with and without a backfill
	@$(BIN)/gist-stream bench backfill $(ARGS)

test: .venv/made ## run the tests, on a real Kafka
	@$(TEST_ENV) $(BIN)/python -m pytest $(ARGS)

test-faults: .venv/made ## kill, freeze and cut off workers and brokers, and count what is lost (SEED=, DURATION= seconds, SCALE=, PROTOCOL=)
	@$(TEST_ENV) FAULTS_SEED=$(SEED) PROTOCOL=$(PROTOCOL) DURATION=$(DURATION) FAULTS_SCALE=$(SCALE) $(BIN)/python -m pytest tests/faults -m "faults or not faults" $(ARGS)

test-docker: .venv/made ## run the Kafka tests against a container, where Docker is (STACK=1: build the image, try the compose stack)
	@STACK=$(STACK) PYTHON=$(CURDIR)/$(BIN)/python deploy/docker/check $(ARGS)

fuzz: .venv/made ## feed hostile bytes to what reads records (DURATION= seconds for each target)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(or $(DURATION),60)

audit: .venv/made ## look up known vulnerabilities of the locked versions; exits 75 where that cannot be done from here
	@$(BIN)/python .ci/audit.py

check: .venv/made ## lint, types, the rules of imports, and that generated files are current
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/words.py
	@$(BIN)/python -m schemas --check
	@$(BIN)/python .ci/command_line.py --check
	@$(BIN)/python .ci/pictures.py --check
	@$(BIN)/python -m worker.settings.documents --check
	@$(BIN)/python .ci/lock.py --check
	@$(BIN)/python deploy/grafana/dashboard.py --check
	@PYTHONPATH=$(CURDIR) $(BIN)/python deploy/check.py

docs: .venv/made ## build the site of docs/ into site/
	@$(BIN)/zensical build --clean --strict

format: .venv/made ## format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

generate: .venv/made ## write the JSON Schemas, .env.example, the pages of settings and commands, the dashboard and the PrometheusRule
	@$(BIN)/python -m schemas
	@$(BIN)/python .ci/command_line.py
	@$(BIN)/python .ci/pictures.py speed
	@$(BIN)/python -m worker.settings.documents --write
	@$(BIN)/python deploy/grafana/dashboard.py
	@PYTHONPATH=$(CURDIR) $(BIN)/python deploy/check.py --write

pictures: .venv/made ## run the demo and draw its terminal into docs/pictures/demo.svg, and the console into docs/pictures/console-*.png
	@$(BIN)/python .ci/pictures.py demo
	@CONSOLE_PICTURES=docs/pictures $(TEST_ENV) $(BIN)/python -m pytest tests/integration/console

lock: .venv/made ## resolve the versions anew
	@$(BIN)/python .ci/lock.py

clean: stop ## remove everything that the other targets made
	rm -rf .venv .demo .data dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
