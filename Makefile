## make train [ARGS="--preset quick"]   set up once, then train, evaluate and film
## make test [ARGS="-k layout"]         set up once, then run the tests
## make test-slow                       the tests that take minutes
## make lint                            ruff
## make install                         only set up: a virtual environment in .venv
## make clean                           remove the virtual environment and the caches (never runs/ or videos/)
##
## PYTHON=python3.12 makes the environment with another Python, VENV=path keeps it elsewhere.
## PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu takes PyTorch's small build for machines without an NVIDIA GPU.

PYTHON ?= python3
VENV ?= .venv

.PHONY: help install train test test-slow lint clean

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $$($(PYTHON) --version) is too old; name Python 3.11 or newer with PYTHON=..." >&2; exit 1; }
	@sh scripts/install_system.sh $(PYTHON)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(VENV)/bin/pip || test -f $(VENV)/pyvenv.cfg || test -z "$$(ls -A $(VENV) 2>/dev/null)" \
	  || { echo "error: $(VENV) holds other things than a virtual environment; name another folder with VENV=..." >&2; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --editable '.[dev]'
	@touch $@

train: install
	$(VENV)/bin/python scripts/train_nav.py $(ARGS)

test: install
	$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup $(ARGS)

test-slow: install
	$(VENV)/bin/python -m pytest -m slow $(ARGS)

lint: install
	$(VENV)/bin/ruff check

clean:
	@test ! -f $(VENV)/pyvenv.cfg || rm -rf $(VENV)
	rm -rf *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
