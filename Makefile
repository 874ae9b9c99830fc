# One command each, on a machine with nothing prepared but Python 3.10 or newer and make.
# PYTHON picks the interpreter; all that is installed goes to .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The tests start the daemon hundreds of times. Compiling it each time would take longer than what they test, so bytecode
# is kept, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-unit test-integration test-oldest test-compiled coverage fuzz lint check-lint deb test-deb benchmark clean

# The package as a user gets it, with what the manhole needs.
$(VENV)/installed: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' 'setuptools>=77' wheel
	$(BIN)/python -m pip install --quiet --editable '.[manhole,spiffe]'
	touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group test
	touch $@

$(VENV)/fuzz-installed: $(VENV)/test-installed
	$(BIN)/python -m pip install --quiet --group fuzz
	touch $@

$(VENV)/lint-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group test --group lint
	touch $@

# See it work: throw-away certificates, a server that demands them, the proxy in front of it.
demo: $(VENV)/installed
	$(BIN)/twist --log-format=text reusedproxy --demo

# All tests. Those that need nginx, curl, openssl or ssh say so where these are missing.
test: test-unit test-integration

# In memory, one process for each core.
test-unit: $(VENV)/test-installed
	$(BIN)/python -m pytest --ignore tests/integration --numprocesses auto $(PYTEST_ARGS)

# The daemon as a user starts it, against real peers: a process more than there are cores, since they wait for most of the
# time, then one after the other those that measure time. With PYTEST_ARGS that choose tests, one of the two may have
# none, which is pytest's exit status 5.
WAITING := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
NONE_CHOSEN := $(if $(PYTEST_ARGS),|| [ $$? -eq 5 ])
test-integration: $(VENV)/test-installed
	$(BIN)/python -m pytest tests/integration -m 'not alone' --numprocesses $(WAITING) --dist loadfile $(PYTEST_ARGS) $(NONE_CHOSEN)
	$(BIN)/python -m pytest tests/integration -m alone $(PYTEST_ARGS) $(NONE_CHOSEN)

# The tests in memory with the oldest dependencies that setup.py allows, in a place of their own.
test-oldest: setup.py tests/oldest.txt
	$(PYTHON) -m venv $(VENV)/oldest
	$(VENV)/oldest/bin/python -m pip install --quiet --upgrade 'pip>=25.1' 'setuptools>=77' wheel
	$(VENV)/oldest/bin/python -m pip install --quiet --constraint tests/oldest.txt --editable '.[manhole,spiffe]' --group test
	$(VENV)/oldest/bin/python -m pytest --ignore tests/integration --numprocesses auto $(PYTEST_ARGS)

# A compiled build (docs/decisions/13-compiled.md), in a copy of the tree, and those tests that put nothing in the place of
# what is compiled: nearly all of tests/integration (test_install builds from a tree without binaries), and some in memory.
COMPILED := $(VENV)/compiled
COPIED := benchmarks debian docs etc examples man reusedproxy tests twisted $(wildcard *.md *.txt *.toml) LICENSE MANIFEST.in Makefile setup.py
IN_MEMORY := command wire_cookies wire_oracles wire_responses wire_whole_answers net_dial net_resumption net_transport_ends backends_algorithms backends_balance generations \
	rules_limits rules_lists rules_samples rules_table tables tables_copies operators_logs_targets garbage garbage_daemon

$(COMPILED)/installed: $(shell find reusedproxy -name '*.py') setup.py pyproject.toml
	$(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	rm -rf $(COMPILED)/tree
	mkdir $(COMPILED)/tree
	cp -R $(COPIED) $(COMPILED)/tree
	cd $(COMPILED)/tree && REUSEDPROXY_COMPILE=1 ../bin/python -m pip install --quiet --editable '.[manhole,spiffe]' --group test
	touch $@

test-compiled: $(COMPILED)/installed
	rm -rf $(COMPILED)/tree/tests
	cp -R tests $(COMPILED)/tree
	cd $(COMPILED)/tree && ../bin/python -m pytest $(IN_MEMORY:%=tests/test_%.py) --numprocesses auto
	cd $(COMPILED)/tree && ../bin/python -m pytest tests/integration -m 'not alone' --ignore tests/integration/test_install.py \
		--numprocesses auto --dist loadfile $(PYTEST_ARGS) $(NONE_CHOSEN)

# What of the package the tests in memory run through, line by line, in htmlcov/.
coverage: $(VENV)/test-installed
	$(BIN)/python -m pytest --ignore tests/integration --numprocesses auto --cov reusedproxy --cov-report html --cov-report term:skip-covered $(PYTEST_ARGS)

# Look for bytes that break a promise of the wire's: SECONDS in all, of all TARGETS (tests/fuzz). It prints, for each,
# executions, coverage (edges and libFuzzer's features) and the file with the finding, if any; what it has learned stays
# in .fuzz for the next time.
SECONDS ?= 3600
fuzz: $(VENV)/fuzz-installed
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

lint: $(VENV)/lint-installed
	$(BIN)/ruff format reusedproxy tests benchmarks examples twisted setup.py
	$(BIN)/ruff check --fix reusedproxy tests benchmarks examples twisted setup.py
	$(BIN)/mypy

check-lint: $(VENV)/lint-installed
	$(BIN)/ruff format --check reusedproxy tests benchmarks examples twisted setup.py
	$(BIN)/ruff check reusedproxy tests benchmarks examples twisted setup.py
	$(BIN)/mypy

# The Debian package, for the release and the architecture of this machine: build/deb/reusedproxy_*.deb. It needs Debian's
# own: apt-get install debhelper python3-venv. A copy of the tree, without what is built in it, is what it is made from.
DEB := build/deb
SOURCE := debian docs etc examples man reusedproxy twisted constraints.txt $(wildcard *.md *.toml) LICENSE MANIFEST.in setup.py

deb:
	rm -rf $(DEB)/tree $(DEB)/*.deb $(DEB)/*.buildinfo $(DEB)/*.changes
	mkdir -p $(DEB)/tree
	tar -c --exclude __pycache__ --exclude dropin.cache --exclude '*.so' $(SOURCE) | tar -x -C $(DEB)/tree
	cd $(DEB)/tree && dpkg-buildpackage --build=binary --no-sign
	rm -rf $(DEB)/tree

# The package, installed, started, reloaded, upgraded under load, removed and purged, on a machine that is a tree of Debian's of the
# same release, with systemd and with init scripts. It asks for root, and: apt-get install debootstrap systemd-container.
RELEASE := $(shell . /etc/os-release 2>/dev/null; echo $$VERSION_CODENAME)

$(DEB)/root:
	mkdir -p $(DEB)
	rm -rf $@.part
	debootstrap --variant=minbase --include=adduser,curl,dbus,iproute2,logrotate,man-db,procps,python3,systemd-sysv \
		$(RELEASE) $@.part
	mv $@.part $@

test-deb: deb $(DEB)/root $(VENV)/test-installed
	REUSEDPROXY_DEB=$$(echo $(CURDIR)/$(DEB)/*.deb) REUSEDPROXY_DEB_TREE=$(CURDIR)/$(DEB)/root \
		$(BIN)/python -m pytest tests/integration/test_deb.py $(PYTEST_ARGS)

# Beside HAProxy and nginx, in one run.
benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/run

clean:
	rm -rf $(VENV) build dist *.egg-info
