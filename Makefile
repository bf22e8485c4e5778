# `make demo` shows a training run. `make test` says whether a change is good. `make test-all` is what CI runs.
# The first call of a target that needs .venv installs it from the lock file.
PYTHON_ENV := .venv/bin
# The Python of an environment with `pip install -e '.[gpu,gpu-test]'`, for `make gpu`.
GPU_PYTHON := python
# Number of parallel test processes: 2 suit two cores and 16 GB. tests/conftest.py says which tests share a process.
WORKERS := 2
PYTEST := $(PYTHON_ENV)/python -m pytest --durations=15
PARALLEL := $(PYTEST) -n $(WORKERS)
# Waiting threads sleep. On two cores, spinning threads would make the busy ones many times slower.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: env demo test test-all lint types suite everything unit contract integration browser gpu bench lock

env:
	@bash deploy/cpu/install.sh

demo: env
	$(PYTHON_ENV)/videossr train configs/demo.yaml

# Lint, types, unit and contract tests, and one integration run of every kind.
test: lint types suite

# `make test`, the tests marked `long` (several nodes and hosts, jobs, buckets), and the page in a real browser.
test-all: lint types everything browser

lint: env
	$(PYTHON_ENV)/ruff check .
	$(PYTHON_ENV)/ruff format --check .

types: env
	$(PYTHON_ENV)/mypy -n $(WORKERS)

suite: env
	$(PARALLEL) -m "not long" tests/unit tests/contract tests/integration

everything: env
	$(PARALLEL) tests/unit tests/contract tests/integration

unit: env
	$(PARALLEL) -m "not long" tests/unit

contract: env
	$(PARALLEL) tests/contract

integration: env
	$(PARALLEL) tests/integration

browser: env
	$(PYTEST) tests/browser

# Needs a machine with a GPU and GPU_PYTHON. Without a GPU every test is skipped.
gpu:
	$(GPU_PYTHON) -m pytest tests/gpu

# Six benchmarks that fit a CPU. They take about 25 minutes and 10 GB of memory, and write benchmarks/results.
bench: env
	@test -e benchmarks/trl/.venv/videossr-ready || bash benchmarks/trl/install.sh
	for name in update against_trl rollout overlap overhead push; do \
	  $(PYTHON_ENV)/python -m benchmarks.$$name || exit 1; done
	$(PYTHON_ENV)/python -m benchmarks.table

# Resolve the CPU environment again (needs uv). torch is installed separately, because its CPU build is not on PyPI.
lock:
	uv pip compile -q deploy/cpu/requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-find-links --excludes deploy/cpu/excluded.txt --no-emit-package torch \
	  --custom-compile-command "make lock" -o deploy/cpu/requirements.lock
