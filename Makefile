# SPDX-License-Identifier: Apache-2.0
#
#   make demo      from nothing to `srun --container=...` on a private cluster on this machine
#   make check     everything CI runs: build, lint, unit, shim and system tests
#   make bench     the numbers of the design, as ratios
#   make install   DESTDIR= PREFIX=/usr/local SYSCONFDIR=/etc     and  make uninstall,  make users

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
# The interpreter that socker-policy embeds: the distribution's.
PYTHON ?= /usr/bin/python3

LIBDIR = $(PREFIX)/lib/socker
VENV = build/venv
PACKAGES_BUILD = gcc libc6-dev make python3-dev python3-venv libslurm-dev
PACKAGES_TEST = slurm-wlm munge docker.io docker-registry debootstrap busybox-static clang-format libcap2-bin procps \
	mariadb-server slurmdbd slurm-wlm-mysql-plugin
SPANK = $(wildcard spank/*.c spank/*.h spank/build.py spank/plugin.map)
PACKAGE = $(wildcard socker/*.py) pyproject.toml
BUILT = build/socker.so build/socker-opener build/socker-policy build/hold build/entry
DEVCLUSTER = contrib/devcluster/devcluster

.PHONY: all build install uninstall users demo check lint unit shim system bench clean deps deps-build
all: build
build: $(BUILT)

# Debian's packages that are not there yet; other distributions: see README, "What it needs".
missing = $(shell command -v dpkg-query >/dev/null && for p in $(1); do \
	dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || echo $$p; done)
apt = $(if $(strip $(1)),apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1),true)

# Debian starts a daemon that it installs; ours are private, so the package scripts are told not to.
deps-build:
	@$(call apt,$(call missing,$(PACKAGES_BUILD)))
deps: deps-build
	@contrib/devcluster/without-services $(call missing,$(PACKAGES_TEST))

$(VENV)/runtime: requirements.txt | deps-build
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@
$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(BUILT) &: $(SPANK) $(VENV)/runtime
	$(VENV)/bin/python spank/build.py --out build plugin opener policy hold entry
	touch $(BUILT)

build/wheel/stamp: $(PACKAGE) $(VENV)/runtime
	rm -rf build/wheel build/lib build/bdist*
	$(VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	touch $@

install: build build/wheel/stamp
	install -d -m 0755 $(DESTDIR)$(LIBDIR) $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d
	install -m 0755 $(BUILT) $(DESTDIR)$(LIBDIR)/
	$(PYTHON) -m venv --without-pip $(DESTDIR)$(LIBDIR)/venv
	$(VENV)/bin/pip --python $(DESTDIR)$(LIBDIR)/venv/bin/python install --quiet --disable-pip-version-check \
		--no-warn-script-location --compile -r requirements.txt
	$(VENV)/bin/pip --python $(DESTDIR)$(LIBDIR)/venv/bin/python install --quiet --disable-pip-version-check \
		--no-warn-script-location --compile --no-deps --no-index --force-reinstall build/wheel/*.whl
	sed 's|@LIBDIR@|$(LIBDIR)|' slurm/socker.conf.in > $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d/socker.conf
	chmod -R go-w $(DESTDIR)$(LIBDIR)

uninstall:
	rm -rf $(DESTDIR)$(LIBDIR)
	rm -f $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d/socker.conf

users:
	contrib/packaging/users

demo: deps build
	contrib/demo

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	clang-format --dry-run --Werror spank/*.c spank/*.h tests/shim/*.c tests/shim/*.h
unit: $(VENV)/dev
	$(VENV)/bin/python -m pytest -q tests/unit
shim: build $(VENV)/dev
	tests/shim/run $(VENV)/bin/python
system: build $(VENV)/dev
	$(VENV)/bin/python -m pytest -q tests/devcluster tests/system

check: deps build lint shim
	$(VENV)/bin/python -m pytest tests/unit tests/devcluster tests/system

bench: deps build $(VENV)/dev
	$(VENV)/bin/python -m tests.bench

clean:
	rm -rf build
