# Everything runs in .venv, which the first target that needs it makes from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
BUNDLE := build/gwm-mini-worlds
WORLD ?= worlds
LOCKED_TORCH := 2.13.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install port gate test slow lock train clean

# An outer environment must not shine through; a BLAS that starts threads of its own makes
# tests on a shared machine many times slower.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
test slow: export OPENBLAS_NUM_THREADS = 1

help:
	@echo "make port    prove the bundled world model on this machine's CPU, compile it for Blackwell, Rubin and AMD"
	@echo "make gate    the same, then judge it by the reviewed baseline of reports/baselines"
	@echo "make test    lint, formatting, types and every test that is not slow"
	@echo "make slow    the slow tests"
	@echo "make train   train a bundled world model anew: WORLD=worlds (the default), robotics or avatars"
	@echo "make lock    resolve requirements.lock anew from the ranges in pyproject.toml"
	@echo "make clean   remove .venv, build and caches"

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("worldport: Python 3.11 or newer is needed, %s is too old; make PYTHON=python3.x" % sys.version.split()[0])'
	@echo "installing into .venv (once; PyTorch and two runtimes, some minutes)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

port: install
	@$(BIN)/worldport port bundled:gwm-mini-worlds --target cpu --target blackwell --target rubin --target amd --out $(BUNDLE)

# The baseline travels with the repository, machines do not: ratios mean the same on each of them. On the machine that
# the baseline was made on, make gate GATE= judges frame rate, p99 and memory too.
GATE ?= --ratios-only
gate: port
	@$(BIN)/worldport gate $(BUNDLE) --baseline reports/baselines/gwm-mini-worlds.json --require attested $(GATE) --junit build/gate.xml --markdown build/gate.md --bencher build/gate.json

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# Families' ports ask for no speed. The others one at a time: they measure time, or take every core or gigabytes.
slow: install
	$(BIN)/python -m pytest -m slow -n logical --maxprocesses 4 --dist loadfile tests/adapters
	$(BIN)/python -m pytest -m slow --ignore tests/adapters

train: install
	$(BIN)/python training/train.py --world $(WORLD)

# The lock keeps its header (the comment lines). "+cpu" and the like are builds, not versions, and
# what a CUDA build of torch brings along is that build's own business.
lock:
	@rm -rf build/lock && mkdir -p build && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install -qq --disable-pip-version-check ".[cpu,cross,nvidia,dev]" torch==$(LOCKED_TORCH) hatchling editables
	@grep '^#' requirements.lock > build/requirements.lock
	@build/lock/bin/python -m pip freeze --exclude worldport | grep -vE '^(cuda-|nvidia-(cu[a-z]+-cu|cublas|cufile|nccl|nvjitlink|nvshmem|nvtx|cudnn|cusparselt))' | sed -E 's/\+[a-z0-9.]+$$//' >> build/requirements.lock
	@mv build/requirements.lock requirements.lock
	@rm -rf build/lock

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
	find porting tests training -name __pycache__ -type d -prune -exec rm -rf {} +
