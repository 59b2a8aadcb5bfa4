# Every target makes the environment it needs in .venv, with uv where it is on the PATH and with
# venv and pip elsewhere. ARGS goes to the program: make serve ARGS="--port 8080".

PYTHON ?= python3
ARGS ?=
TEST_PROCESSES ?= 3
SCENARIOS ?= Chat LongPrompt SharedPrompt Agent Structured
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

# What .venv/.with-NAME installs besides cupola itself, and what a user should expect of it.
EXTRA_run :=
EXTRA_test := [test]
EXTRA_lint := [lint]
EXTRA_loadtest := [loadtest]
EXTRA_dev := [dev]
# What comes with it, and need not be installed once more.
HELD_test := run
HELD_loadtest := run
HELD_lint := run test
HELD_dev := run test lint loadtest
COST_run := 340 MB on the disk, a minute or two
COST_test := 550 MB on the disk, some minutes
COST_lint := $(COST_test)
COST_loadtest := $(COST_test)
COST_dev := 600 MB on the disk, some minutes

# pip goes into the environment in both cases: models are fetched with it.
ifdef UV
MAKE_VENV = uv venv --seed --python $(PYTHON) $(VENV)
INSTALL = uv pip install --python $(BIN)/python
else
MAKE_VENV = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check
endif

# Without compiled modules, each process of each service that a test starts would compile its own.
unexport PYTHONDONTWRITEBYTECODE

# Each process begins with a part of the tests, in their order, so that most fixtures of a file are
# made once. The one that has finished takes tests from the other.
# NumPy's own threads would only wait for those of the other processes.
PYTEST = OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

# Runs a command and shows its output only if it fails.
define quietly
log=$$(mktemp); trap 'rm -f "$$log"' EXIT; { $(1); } >"$$log" 2>&1 || { cat "$$log" >&2; exit 1; }
endef

.PHONY: help serve chat test test-fast lint types audit docs bench loadtest dev lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.with-run ## serve the default model on http://127.0.0.1:5273 until Ctrl+C
	@exec $(BIN)/cupola serve $(ARGS)

chat: $(VENV)/.with-run ## chat with the default model in this terminal
	@exec $(BIN)/cupola model run $(ARGS)

test: $(VENV)/.with-test ## run all tests
	$(PYTEST) $(ARGS)

# They wait for nothing: a third process would only collect them once more.
test-fast: TEST_PROCESSES := 2
test-fast: $(VENV)/.with-test ## run the tests that need no running service and no real model
	$(PYTEST) -m 'not slow' --hypothesis-profile=fast $(ARGS)

lint: $(VENV)/.with-lint ## check style, form, types and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory audit

# Of the tested versions, which need not be installed. Without a package index there is no answer.
audit: $(VENV)/.with-lint ## ask for known vulnerabilities of the tested versions
	@if timeout 20 $(BIN)/python -m pip index versions pip >/dev/null 2>&1; then \
	  timeout 120 $(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip \
	    --progress-spinner off --timeout 15 > .audit.log 2>&1; status=$$?; \
	  if [ $$status -eq 1 ] && grep -q '^Name ' .audit.log; then cat .audit.log; rm .audit.log; exit 1; fi; \
	  unknown=$$(grep -c 'could not be audited' .audit.log); \
	  [ $$unknown -eq 0 ] || echo "The index knows nothing of the vulnerabilities of $$unknown packages"; \
	  [ $$status -eq 0 ] || echo 'The list of vulnerabilities could not be asked; it was left out'; \
	  rm -f .audit.log; \
	else echo 'There is no package index: known vulnerabilities were not asked for'; fi

# mypy does not follow the editable install, so it finds `cupola` through a link to the checkout.
types: $(VENV)/.with-lint ## check the types only
	@mkdir -p .typecheck && ln -sfn .. .typecheck/cupola
	$(BIN)/mypy

docs: $(VENV)/.with-run ## write the tables of README.md and docs/ that are made from the code
	$(BIN)/python -m cupola.service.documents

bench: $(VENV)/.with-run ## measure the running service
	$(BIN)/cupola bench $(ARGS)

loadtest: $(VENV)/.with-loadtest ## two minutes of load on the running service, and a report of it
	@mkdir -p loadtests/results
	$(BIN)/python -m locust -f loadtests/users/locustfile.py --headless --only-summary \
	  --users 8 --spawn-rate 8 --run-time 120s --stop-timeout 10s \
	  --html loadtests/results/report.html --csv loadtests/results/locust $(ARGS) $(SCENARIOS)

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
	@echo "Making a Python environment in $(VENV) (some seconds)"
	@$(call quietly,$(MAKE_VENV) || { rm -rf $(VENV); false; })

# setuptools comes first so that the build uses the tested version. pip comes with it because models
# are downloaded with pip, and an old one reports no progress.
$(VENV)/.with-%: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	@echo "Installing the packages of cupola$(EXTRA_$*) ($(COST_$*))"
	@$(call quietly,$(INSTALL) --constraint constraints.txt --upgrade pip setuptools)
	@$(call quietly,$(INSTALL) --constraint constraints.txt --no-build-isolation --editable '.$(EXTRA_$*)')
	@touch $@ $(foreach held,$(HELD_$*),$(VENV)/.with-$(held))
