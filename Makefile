# Two commands: `make demo` and `make test`. Both make .venv from the lock file first, once.
PYTHON_ENV := .venv/bin
# Waiting threads sleep: on two cores, spinning ones slow the busy ones many times over.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: env demo test bench lint types test-all suite long browser unit contract integration lock

env:
	@bash deploy/cpu/install.sh

demo: env
	$(PYTHON_ENV)/videossr train configs/demo.yaml

test: lint types suite

lint: env
	$(PYTHON_ENV)/ruff check .
	$(PYTHON_ENV)/ruff format --check .

types: env
	$(PYTHON_ENV)/mypy

# Two at a time, whichever a core is free for; the tests of a file stay together, and share what it has set up.
suite: env
	$(PYTHON_ENV)/python -m pytest -n 2 --dist loadscope -m "not long" tests/unit tests/contract tests/integration

# What CI runs besides: several nodes and hosts, jobs from beginning to end, and the page in a real browser.
test-all: test long browser

long: env
	$(PYTHON_ENV)/python -m pytest -n 2 --dist loadscope -m long tests/integration

browser: env
	$(PYTHON_ENV)/python -m pytest tests/browser

unit: env
	$(PYTHON_ENV)/python -m pytest tests/unit

contract: env
	$(PYTHON_ENV)/python -m pytest tests/contract

integration: env
	$(PYTHON_ENV)/python -m pytest tests/integration

# What fits a CPU: about 25 minutes and 10 GB of memory; figures go to benchmarks/results, with their commands.
bench: env
	@test -e benchmarks/trl/.venv/videossr-ready || bash benchmarks/trl/install.sh
	for name in update against_trl rollout overlap overhead push; do \
	  $(PYTHON_ENV)/python -m benchmarks.$$name || exit 1; done
	$(PYTHON_ENV)/python -m benchmarks.table

# Resolve the CPU environment anew (needs uv). torch is installed apart: its CPU build is not on PyPI.
lock:
	uv pip compile -q deploy/cpu/requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-find-links --excludes deploy/cpu/excluded.txt --no-emit-package torch \
	  --custom-compile-command "make lock" -o deploy/cpu/requirements.lock
