# Everything sets itself up: a virtual environment in .venv, MariaDB through apt if it is missing, and MySQL 9 in a root
# of its own under the cache directory where that can be made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
FUZZ_SECONDS ?= 300

.PHONY: help demo run test check lint docs fuzz sanitize differential chaos dist pythons bench bench-framing bench-overhead
.PHONY: bench-storm bench-large bench-prepared bench-one-cpu bench-tls bench-unix bench-workers bench-connect bench-logins bench-idle
.PHONY: bench-profile bench-quick bench-readme mysqlclient test-trio test-slow venv mariadb mysql drivers peers clean
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

test-trio: venv mariadb mysql  ## what sessions and recovery do, on the relay in plain Python
	STILLHERE_TEST_RELAY=trio $(BIN)/pytest -n $(WORKERS) --dist worksteal $(addprefix tests/e2e/test_, \
		session.py recovery_in_flight.py whole_protocol.py limit.py kernel_evidence.py)

test-slow: venv mariadb mysql  ## a client that takes a minute for a large result
	STILLHERE_SLOW_SECONDS=60 $(BIN)/pytest tests/e2e/test_slow_reading.py -k very_long --timeout 1200

check: lint test test-trio  ## what CI runs

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

bench: venv mariadb mysql peers mysqlclient  ## measure everything, about 20 minutes, and write bench/README.md
	$(BIN)/python -m bench.everything

bench-readme: venv  ## write bench/README.md anew, and the table in README.md
	$(BIN)/python -m bench.readme --front-page

bench-quick: venv mariadb mysql peers mysqlclient  ## the same in two or three minutes, to see that it all works
	$(BIN)/python -m bench.everything --quick

bench-framing: venv
	$(BIN)/python -m bench.framing

bench-overhead: venv mariadb mysql peers
	$(BIN)/python -m bench.overhead --markdown bench/results/overhead.md

bench-prepared: venv mariadb mysql peers  ## the same with prepared statements
	$(BIN)/python -m bench.overhead --workload prepared

bench-one-cpu: venv mariadb mysql peers  ## the same where load, proxy and server share one CPU
	$(BIN)/python -m bench.overhead --one-cpu

bench-tls: venv mariadb mysql peers  ## the same, encrypted towards the server
	$(BIN)/python -m bench.overhead --lineup tls --connections 8

bench-unix: venv mariadb peers  ## a unix socket beside TCP
	$(BIN)/python -m bench.overhead --lineup unix --connections 1,8

bench-workers: venv mariadb peers  ## one thread of the pump, and two
	$(BIN)/python -m bench.overhead --lineup workers --connections 8,32

bench-connect: venv mariadb mysql peers mysqlclient  ## connect, one query, quit
	$(BIN)/python -m bench.connect

bench-logins: venv mariadb mysql peers mysqlclient  ## what 200 logins per second cost those that are there
	$(BIN)/python -m bench.logins

bench-idle: venv mariadb peers mysqlclient  ## 5,000 idle sessions: their memory, and what busy ones lose by them
	$(BIN)/python -m bench.idle

bench-profile: venv mariadb peers  ## where the guard's CPU time goes
	$(BIN)/python -m bench.profile

bench-storm: venv mariadb mysql  ## how 500 sessions come back when the server is restarted or killed
	$(BIN)/python -m bench.storm

bench-large: venv mariadb mysql peers  ## throughput and CPU time with a large result and large statements
	$(BIN)/python -m bench.large

peers:
	@tests/servers/install_debian.sh sysbench sysbench
	@tests/servers/install_debian.sh haproxy haproxy
	@tests/servers/install_debian.sh nginx nginx-core libnginx-mod-stream

mysqlclient: venv
	@$(BIN)/python -c 'import MySQLdb' 2>/dev/null || { \
		tests/servers/install_debian.sh mariadb_config libmariadb-dev gcc pkg-config && \
		$(BIN)/pip install --quiet --disable-pip-version-check mysqlclient; }

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
