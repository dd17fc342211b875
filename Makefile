# Everything runs from .venv, which is made from requirements.lock (exact versions, hashes).
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash

.DEFAULT_GOAL := env
.PHONY: help env demo kernels test test-all test-proxy test-edge test-alerts test-bounds test-faults test-matrix coverage bench lint types lock clean
# This list: each target with the comment above it.
help:
	@awk '/^# /{text = text substr($$0, 2); next} \
	  /^[a-z-]+:( |$$)/ && text != ""{sub(/:.*/, ""); printf "%s:%s\n", $$0, text} {text = ""}' \
	  $(MAKEFILE_LIST) | fold -s -w 94 | sed -E 's/ +$$//; /^[a-z-]+:/!s/^/    /'

# The virtual environment, from requirements.lock.
env: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11: make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Kafka, registry, all processes, 250,000 transactions, and a verdict. QUICK=1 takes fewer.
# MODEL=lightgbm trains a LightGBM model, imports it, and lets it decide.
demo: env
	@$(BIN)/stream-scorer demo $(if $(QUICK),--quick) $(if $(MODEL),--model $(MODEL))

# Four processes on two cores, each with its own Kafka: tests with a broker wait half of the time.
# The files go in their order, training and brokers first: a long file that begins last would run
# alone.
PYTEST := $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder
FILES := tests/unit/training tests

# The numba kernels, compiled once before several processes need them; nothing where they are there.
kernels: env
	@$(BIN)/python -m stream_scorer.scoring.compile_kernels

# The quick tier, at most ten minutes on two cores: everything that computes, with an eighth of the
# random examples, and one test for each promise that needs a broker. PYTEST_ARGS="-k windows".
test: env kernels
	$(PYTEST) -m "not thorough and not proxy and not prometheus and not toolchain" --hypothesis-profile quick $(PYTEST_ARGS) $(FILES)

# How much of these folders their unit tests run, branches included: a figure, not a gate. Compiled
# kernels are left out, since numba runs them outside of Python.
COVERED := core codec kafka state rollout
coverage: env kernels
	@rm -f .coverage .coverage.*
	@printf '%s\n' $(COVERED) | xargs -P 2 -I{} sh -c 'said=$$($(BIN)/coverage run --parallel-mode \
	  -m pytest -q -m "not thorough" --hypothesis-profile quick tests/unit/{}) || { echo "$$said"; exit 1; }'
	@$(BIN)/coverage combine --quiet
	@for folder in $(COVERED); do printf 'coverage of %s: %s %%\n' "$$folder" \
	  "$$($(BIN)/coverage report --format total --precision 1 --include "stream_scorer/$$folder/*")"; done

# Every test, at most 45 minutes: also kills, group protocols, some faults, and the benches' tests.
test-all: env kernels
	$(PYTEST) -m "not proxy and not prometheus and not toolchain" $(PYTEST_ARGS) $(FILES)

# The API behind a real nginx, which `apt-get install nginx-light` brings: request smuggling and
# forged certificates.
test-proxy: env
	$(BIN)/python -m pytest -m proxy tests/integration/serving/hostile

# Exported models in C, by gcc and clang, in WebAssembly and in a browser; valgrind, sanitizers and
# mutated images. The programs come with `apt-get install gcc clang lld wasi-libc valgrind nodejs
# chromium`, which root need not call. QUICK=1 leaves out what takes minutes.
test-edge: env
	@$(BIN)/python -m tests.support.edge.programs
	$(BIN)/python -m pytest -m "toolchain $(if $(QUICK),and not thorough)" \
	  $(if $(QUICK),--hypothesis-profile quick) $(PYTEST_ARGS) tests/integration/edge

# Every alert fires on its fault and on nothing else, with promtool; a real Prometheus and
# Alertmanager on a real run, in which all scorers are stopped; and faults of the fault suite page
# their one alert. About half an hour, on an idle machine. The programs come with
# `apt-get install prometheus prometheus-alertmanager`. PYTEST_ARGS="-k test_rules" runs promtool alone.
test-alerts: env
	$(BIN)/python -m pytest -m prometheus $(PYTEST_ARGS) tests/alerts

# Every kind of fault on real brokers, judged by an independent verifier: about half an hour per
# seed. SEEDS=N runs seeds 1 to N; FAULTS_ARGS="--only KIND --reports DIR" and so on.
test-faults: env
	@$(BIN)/python -m tests.faults.suite --seeds $(or $(SEEDS),1) $(FAULTS_ARGS)

# Kernels compiled with every access checked: unit tests, ten minutes of seeded mutation, and seven
# copies with a missing check. BOUNDS_ARGS="--seed N --seconds N --only mutation" and so on.
test-bounds: env
	@$(BIN)/python -m tests.bounds $(if $(QUICK),--quick) $(BOUNDS_ARGS)

# The golden rows of every bundle with other versions of numpy and scikit-learn, each pair in a
# separate environment below .venv-matrix/.
test-matrix: env
	@$(BIN)/python -m tests.matrix $(if $(QUICK),--quick)

# All benches on this machine: throughput and latency compared with a bare loop and a hand-written
# loop, features compared with polars, parity of all ways of scoring, state, the handbook's table,
# files, handover, many partitions, rollouts, past decisions, half an hour of random faults, hostile
# clients, mapped events, imported models, exported models and devices (see test-edge), verdicts on
# lag, and HTTP and gRPC, which needs h2load (Debian: nghttp2-client) and Go. QUICK=1 runs the small
# forms.
bench: env
	$(BIN)/python bench/throughput.py $(if $(QUICK),--quick)
	$(BIN)/python bench/latency.py $(if $(QUICK),--quick)
	$(BIN)/python -m bench.handbook_steps.features $(if $(QUICK),--quick)
	$(BIN)/python bench/parity.py $(if $(QUICK),--quick)
	$(BIN)/python bench/state.py $(if $(QUICK),--quick)
	$(BIN)/python bench/handbook.py $(if $(QUICK),--quick)
	$(BIN)/python bench/batch.py $(if $(QUICK),--quick)
	$(BIN)/python bench/acceptance/handover.py $(if $(QUICK),--quick)
	$(BIN)/python bench/acceptance/many_partitions.py $(if $(QUICK),--quick)
	$(BIN)/python bench/rollout.py $(if $(QUICK),--quick)
	$(BIN)/python bench/learning/let_through.py $(if $(QUICK),--quick)
	$(BIN)/python bench/acceptance/rollout_live.py $(if $(QUICK),--quick)
	$(BIN)/python -m bench.rollout_steps.guarded $(if $(QUICK),--quick)
	$(BIN)/python bench/acceptance/reproduce.py $(if $(QUICK),--quick)
	$(BIN)/python bench/acceptance/soak.py $(if $(QUICK),--quick)
	$(BIN)/python bench/hostile.py $(if $(QUICK),--quick)
	$(BIN)/python -m bench.hostile_cases.gateway $(if $(QUICK),--quick)
	$(BIN)/python bench/events.py $(if $(QUICK),--quick)
	$(BIN)/python bench/imports.py $(if $(QUICK),--quick)
	$(BIN)/python bench/edge.py $(if $(QUICK),--quick)
	$(BIN)/python bench/drift.py $(if $(QUICK),--quick)
	$(BIN)/python bench/lag.py $(if $(QUICK),--quick)
	$(BIN)/python bench/learning/performance.py $(if $(QUICK),--quick)
	$(BIN)/python bench/http.py $(if $(QUICK),--quick)

PROSE := README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md docs

# Style, formatting, imports, spelling, and the words of documents and messages.
lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell $(PROSE) stream_scorer tests bench schemas models compose
	$(BIN)/python -m tests.layout.plain_words

# mypy --strict, tests included.
types: env
	$(BIN)/mypy

# Re-pins every dependency; needs `pip install uv`.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --upgrade --extra kafka --extra mlflow --extra onnx --extra s3 --extra gcs --extra http --extra otel --extra retrain --extra edge --group dev pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra s3 --extra gcs --extra http --extra otel --extra edge --constraint requirements.lock pyproject.toml -o requirements-run.lock
	for peer in mlserver kserve; do uv pip compile --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate tests/oip/peers/$$peer.in -o tests/oip/peers/$$peer.lock; done
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  bench/http_steps/fastapi.in -o bench/http_steps/fastapi.lock
	for peer in evidently nannyml; do uv pip compile --python-version 3.11 --generate-hashes --no-strip-extras \
	  --no-emit-index-url --no-header --no-annotate bench/peers/$$peer.in -o bench/peers/$$peer.lock; done

# Removes the environments and caches.
clean:
	rm -rf .venv .venv-matrix .venv-peers .bench-tools .bounds-cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.*
