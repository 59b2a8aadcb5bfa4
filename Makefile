# Every target makes the environment it needs in .venv, with uv where it is on the PATH and with
# venv and pip elsewhere. ARGS goes to the program: make serve ARGS="--port 8080".

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

# What .venv/.with-NAME installs besides cupola itself.
EXTRA_run :=
EXTRA_test := [test]
EXTRA_lint := [lint]
EXTRA_loadtest := [loadtest]
EXTRA_dev := [dev]

# pip goes into the environment in both cases: models are fetched with it.
ifdef UV
MAKE_VENV = uv venv --seed --python $(PYTHON) $(VENV)
INSTALL = uv pip install --python $(BIN)/python
else
MAKE_VENV = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check
endif

.PHONY: help serve chat test lint types bench loadtest dev lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.with-run ## serve the default model on http://127.0.0.1:5273 until Ctrl+C
	@exec $(BIN)/cupola serve $(ARGS)

chat: $(VENV)/.with-run ## chat with the default model in this terminal
	@exec $(BIN)/cupola model run $(ARGS)

test: $(VENV)/.with-test ## run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.with-lint ## check style, form and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory types

# mypy does not follow the editable install, so it finds `cupola` through a link to the checkout.
types: $(VENV)/.with-lint ## check the types only
	@mkdir -p .typecheck && ln -sfn .. .typecheck/cupola
	$(BIN)/mypy

bench: $(VENV)/.with-loadtest ## measure the running service
	$(BIN)/python loadtests/bench.py $(ARGS)

loadtest: $(VENV)/.with-loadtest ## put a minute of load on the running service
	$(BIN)/python -m locust -f loadtests/locustfile.py --headless \
	  --users 16 --spawn-rate 16 --run-time 60s $(ARGS)

dev: $(VENV)/.with-dev ## install everything, and the hooks of pre-commit
	$(BIN)/pre-commit install

# The tested versions: what the package index gives to a fresh environment today.
lock: ## renew constraints.txt
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv $$folder; \
	$$folder/bin/python -m pip install --quiet --upgrade pip setuptools; \
	$$folder/bin/python -m pip install --quiet --no-build-isolation --editable '.[dev]'; \
	{ echo '# The versions that were tested together. Renew with: make lock'; \
	  $$folder/bin/python -m pip freeze --all --exclude-editable; } \
	  | sed 's/+[a-z0-9.]*$$//' > constraints.txt

clean: ## remove the environment and all that was built
	rm -rf $(VENV) .typecheck build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Cupola needs Python 3.11 or later: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo "Making the environment in $(VENV)"
	@$(MAKE_VENV) || { rm -rf $(VENV); exit 1; }

# setuptools comes first so that the build, too, uses the tested version, and pip because models
# are fetched with it and an old one does not tell how far it is.
$(VENV)/.with-%: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	@echo "Installing cupola$(EXTRA_$*)"
	@$(INSTALL) --constraint constraints.txt --upgrade pip setuptools
	@$(INSTALL) --constraint constraints.txt --no-build-isolation --editable '.$(EXTRA_$*)'
	@touch $@
