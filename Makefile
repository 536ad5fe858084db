# Needs python3 (3.11 or newer) and make, nothing else. What people read goes to stderr, data to stdout.
PORT ?= 8000
DEMO_SERVE ?= 1
PYTHON ?= python3
BIN = .venv/bin
MANAGE = PORT=$(PORT) $(BIN)/python manage.py
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r
DEMARC_HOME ?= .demarc
export DEMARC_HOME
.DELETE_ON_ERROR:

.PHONY: demo run test test-long check bench dump clean lock

demo: .venv/installed ## a sample portfolio, segmented, in a web admin
	@$(MANAGE) demo
	@if [ "$(DEMO_SERVE)" = 1 ]; then exec env PORT=$(PORT) $(BIN)/python manage.py serve; fi

run: .venv/installed ## web, worker and scheduler on PORT
	@$(MANAGE) migrate --no-input --verbosity 0
	@exec env PORT=$(PORT) $(BIN)/python manage.py serve

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 -m "not long"

test-long: .venv/installed-dev ## the sizes an issue names
	$(BIN)/python -m pytest -m long

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py guards --due
	DEMARC_ENV=production SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	ALLOWED_HOSTS=demarc.example.com DATABASE_URL=postgres://demarc@db.example.com/demarc \
	$(BIN)/python -W error manage.py check --deploy --fail-level WARNING

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.load

dump: .venv/installed ## the demonstration as this version makes it, for the test that migrates it to later ones
	@DEMARC_HOME=.demarc/dump $(BIN)/python manage.py demo
	@mkdir -p tests/dumps
	@$(BIN)/python config/embedded.py dump .demarc/dump | gzip -9n > tests/dumps/$(VERSION).sql.gz
	@$(PYTHON) config/embedded.py clean .demarc/dump
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

clean: ## stops the embedded server and removes its data; keeps .venv
	@$(PYTHON) config/embedded.py clean $(DEMARC_HOME)
	@rm -rf staticfiles .pytest_cache .ruff_cache .hypothesis

lock: .venv/installed-dev ## write the locked requirements anew from pyproject.toml
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	$(LOCK) pyproject.toml --group dev --group bench -c requirements-dev.txt -o requirements-bench.txt
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# -- the environment: made when missing, filled again when a lock file is newer ------------------------------

.venv/installed: requirements.txt | .venv/bin/python
	@echo "installing from $<" >&2
	@$(INSTALL) $< >&2
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@echo "installing from $<" >&2
	@$(INSTALL) $< >&2
	@touch $@

.venv/installed-bench: requirements-bench.txt .venv/installed-dev
	@echo "installing from $<" >&2
	@$(INSTALL) $< >&2
	@touch $@

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: install python3 (3.11 or newer), or name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Demarc needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'). Name another: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo "Python's venv is missing: apt-get install python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
