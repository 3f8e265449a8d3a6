# `make serve` needs Python 3.11+ with pip, `make test` that and npm's registry, by a npm that pip brings; `make peers`
# needs root and Debian.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EMULATORS := $(VENV)/node/.ready

.PHONY: serve test peers soak lint types audit benchmark docs clean

# A registry on http://127.0.0.1:5000, its data under ./data.
serve: $(READY)
	exec env REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$(CURDIR)/data $(BIN)/txregistry serve docs/serve.yml

test: $(READY) $(EMULATORS)
	$(BIN)/python tests/run.py

peers: $(READY)
	sh tests/peers/install.sh
	$(BIN)/python tests/run.py tests.peers

# How long those tests of `make soak` take that go on for as long as one likes.
MINUTES ?= 60

soak: $(READY) $(EMULATORS)
	sh tests/peers/install.sh
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	SOAK_MINUTES=$(MINUTES) $(BIN)/python tests/run.py tests.soak
	REGISTRY_TEST_KILLS=200 REGISTRY_TEST_EVERY=1 REGISTRY_TEST_OUTCOMES=3 REGISTRY_TEST_RACE_SECONDS=600 \
		$(BIN)/python tests/run.py tests.faults tests.test_collection_race
	REGISTRY_TEST_POWER_CUTS=200 REGISTRY_TEST_EVERY=1 \
		$(BIN)/python tests/run.py tests.peers.test_power tests.peers.test_syscalls

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	MYPYPATH=drivers/txregistry-sqlite $(BIN)/mypy --config-file pyproject.toml -p txregistry_sqlite
	MYPYPATH=drivers/txregistry-s3 $(BIN)/mypy --config-file pyproject.toml -p txregistry_s3
	MYPYPATH=drivers/txregistry-azure $(BIN)/mypy --config-file pyproject.toml -p txregistry_azure
	MYPYPATH=drivers/txregistry-gcs $(BIN)/mypy --config-file pyproject.toml -p txregistry_gcs

# Bandit's findings are answered in pyproject.toml, or where they are.
audit: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[audit]'
	$(BIN)/bandit -q -c pyproject.toml -r txregistry drivers
	$(BIN)/python tests/audit.py

benchmark: $(READY)
	$(BIN)/python -m benchmarks

docs: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/sphinx-build -W -q -b html docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build docs/api _trial_temp*

$(READY): setup.cfg pyproject.toml $(wildcard drivers/*/setup.cfg)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,lint]' -e drivers/txregistry-sqlite \
		-e 'drivers/txregistry-s3[test]' -e 'drivers/txregistry-azure[test]' \
		-e 'drivers/txregistry-gcs[test]'
	touch $@

$(EMULATORS): $(READY)
	$(BIN)/npm install --prefix $(VENV)/node --silent --no-audit --no-fund azurite@3
	touch $@
