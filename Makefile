# Everything a person types: `make help` lists it. Nothing is installed outside the folder $(VENV).
PYTHON ?= python3
# One environment per interpreter, so that `make test PYTHON=python3.12` leaves the default one alone.
VENV ?= $(if $(filter python3 python,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
# Further requirements, such as PINS=jax==0.10.2, to test with particular versions.
PINS ?=
# Two workers: each compiles on its own, and XLA already uses every core for one large computation.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
DEMO_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed$(if $(PINS),-$(subst $(eval) ,_,$(PINS)))
# Numerical libraries besides JAX get one thread per worker, or two workers would fight over two cores.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint install clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "variables: PYTHON=$(PYTHON) VENV=$(VENV) PINS=$(PINS) PYTEST_ARGS='$(PYTEST_ARGS)' DEMO_ARGS='$(DEMO_ARGS)'"

demo: $(INSTALLED)  ## train a class-conditional GAN on real digits (under 90 s on 2 cores) and score it
	$(BIN)/python -m experiments.demo $(DEMO_ARGS)

test: lint  ## lint, types and all fast tests
	$(TEST_ENV) $(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(INSTALLED)  ## the tests that take long: whole training runs, every family
	$(TEST_ENV) $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

install: $(INSTALLED)  ## only make the environment $(VENV)

clean:  ## remove environments and caches; never touches runs/
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "jaxgan needs Python 3.11 or newer, and '$(PYTHON)' is not: name one by 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev,tensorboard]' $(PINS)
	@rm -f $(VENV)/.installed*
	@touch $@
