# Everything sets itself up: a virtual environment in .venv, MariaDB through apt if it is missing, and MySQL 9 in a root
# of its own under the cache directory where that can be made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
FUZZ_SECONDS ?= 300

.PHONY: help demo run test check lint docs fuzz sanitize differential chaos dist pythons bench bench-framing bench-overhead
.PHONY: bench-storm bench-large test-slow venv mariadb mysql drivers peers clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: venv mariadb  ## watch the guard at work in front of a throwaway MariaDB
	@$(BIN)/python -m demo

run: venv  ## start the guard in front of your own server: make run UPSTREAM=host:3306
	@test -n "$(UPSTREAM)" || { echo "usage: make run UPSTREAM=host:3306" >&2; exit 1; }
	@$(BIN)/stillhere run --upstream $(UPSTREAM)

test: venv mariadb mysql drivers  ## run all tests, against a real MariaDB and a real MySQL 9
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-slow: venv mariadb mysql  ## a client that takes a minute for a large result
	STILLHERE_SLOW_SECONDS=60 $(BIN)/pytest tests/e2e/test_slow_reading.py -k very_long --timeout 1200

check: lint test  ## what CI runs

lint: venv  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: venv  ## make docs/configuration.md and the JSON schema anew, from config/schema.py and config/example.yaml
	$(BIN)/python -m reference

fuzz: venv  ## a coverage-guided search of the native walker, FUZZ_SECONDS long; then the property tests with many more examples
	tests/fuzz/run.sh $(VENV) $(FUZZ_SECONDS)
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest tests/protocol tests/config -n $(WORKERS) --timeout 3600

sanitize: venv mariadb mysql  ## the tests of the native code, with AddressSanitizer and UBSan built into it
	WORKERS=$(WORKERS) tests/sanitize.sh $(VENV)

differential: venv mariadb mysql  ## thousands of made-up sessions, each with the guard and without it, compared byte for byte
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest tests/e2e/test_differential.py -n 2 --timeout 14400

chaos: venv mariadb mysql  ## the ledger test for ten minutes: crashes, kills and black holes while clients write
	$(BIN)/python -m tests.chaos --seconds 600

dist: venv  ## build the wheel and the sdist, check both, and try the wheel in an empty environment
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(PYTHON) -m venv build/empty
	build/empty/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	build/empty/bin/stillhere --help
	build/empty/bin/stillhere check config/example.yaml

pythons: venv  ## run the tests that need no server on each Python that is supported and found here
	$(BIN)/nox

bench: bench-framing bench-overhead  ## measure packet framing, and the overhead beside other proxies

bench-framing: venv
	$(BIN)/python -m bench.framing

bench-overhead: venv mariadb mysql peers
	$(BIN)/python -m bench.overhead --markdown bench/results/overhead.md

bench-storm: venv mariadb mysql  ## how 500 sessions come back when the server is restarted or killed
	$(BIN)/python -m bench.storm

bench-large: venv mariadb  ## throughput and CPU time with a large result and large statements
	$(BIN)/python -m bench.large

peers:
	@tests/servers/install_debian.sh sysbench sysbench
	@tests/servers/install_debian.sh haproxy haproxy
	@tests/servers/install_debian.sh nginx nginx-core libnginx-mod-stream

venv: $(VENV)/ready

# The pump is compiled where there is a compiler; without it, everything works in plain Python.
$(VENV)/ready: pyproject.toml setup.py $(wildcard protocol/*.p[xy][xd] proxy/*.p[xy][xd])
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tests/servers/install_debian.sh "" python3-venv
	@tests/servers/install_debian.sh cc gcc libc6-dev || true
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
		tests/servers/install_debian.sh "" python3-dev || true
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

mariadb:
	@tests/servers/install_debian.sh mariadbd mariadb-server

# Without it, the tests that need MySQL say so and are skipped.
mysql:
	@tests/servers/install_mysql.sh || true

# What cannot be had is named, by the tests too, which skip it.
drivers: venv  ## install the drivers that are tested: Python, Node, PHP, Perl, Ruby, Java, Go
	@tests/drivers/install.sh $(VENV)

clean:  ## remove the virtual environment and what tools have left
	rm -rf $(VENV) .nox tests/drivers/node/node_modules build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
