# SPDX-License-Identifier: Apache-2.0
#
#   make demo      from nothing to `srun --container=...` on a private cluster on this machine
#   make check     everything CI runs: build, lint, unit, shim and system tests
#   make check-vm  SUITE=trixie: the system tests in a virtual machine of another Debian release (SET=short or all)
#   make deb       a Debian package for the Slurm release that is installed here, in build/deb;  make rpm  likewise
#   make bench     the numbers of the design, as ratios
#   make install   DESTDIR= PREFIX=/usr/local SYSCONFDIR=/etc     and  make uninstall,  make users

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
# The interpreter that socker-policy embeds: the distribution's.
PYTHON ?= /usr/bin/python3

LIBDIR = $(PREFIX)/lib/socker
BINDIR = $(PREFIX)/bin
SHAREDIR = $(PREFIX)/share
UNITDIR ?= $(PREFIX)/lib/systemd/system
VENV = build/venv
PACKAGES_BUILD = gcc libc6-dev make python3-dev python3-venv libslurm-dev
PACKAGES_TEST = slurm-wlm munge docker.io docker-registry debootstrap busybox-static clang-format libcap2-bin procps \
	mariadb-server slurmdbd slurm-wlm-mysql-plugin libpmix-dev
PACKAGES_DEB = debhelper dpkg-dev fakeroot
PACKAGES_VM = qemu-system-x86 debootstrap openssh-client e2fsprogs
SUITE ?= trixie
SET ?= short
SPANK = $(wildcard spank/*.c spank/*.h spank/build.py spank/plugin.map)
PACKAGE = $(wildcard socker/*.py socker/cli/*.py) pyproject.toml
PAGES = socker.1 socker-policy.5 socker-images.5
COMPLETIONS = bash-completion/completions/socker zsh/site-functions/_socker fish/vendor_completions.d/socker.fish
BUILT = build/socker.so build/socker-opener build/socker-policy build/hold build/entry
DEVCLUSTER = contrib/devcluster/devcluster
# The system tests wait most of the time, so two of them run at once, each on a cluster of its worker.
WORKERS = -n 2 --dist loadfile

.PHONY: all build man install uninstall users demo check lint unit shim system bench clean deps deps-build \
	check-vm deps-vm deb rpm
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

# Without what is only recommended: a machine without a screen needs none of it.
missing_vm = $(call missing,$(PACKAGES_VM))
deps-vm:
	@$(call apt,$(if $(missing_vm),--no-install-recommends $(missing_vm)))

$(VENV)/runtime: requirements.txt | deps-build
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@
$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/docs: requirements-docs.txt $(VENV)/runtime
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

$(BUILT) &: $(SPANK) $(VENV)/runtime
	$(VENV)/bin/python spank/build.py --out build plugin opener policy hold entry
	touch $(BUILT)

build/wheel/stamp: $(PACKAGE) $(VENV)/runtime
	rm -rf build/wheel build/lib build/bdist*
	$(VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	touch $@

build/man/stamp: $(wildcard docs/*.md) docs/manpages.py socker/__init__.py $(VENV)/docs
	$(VENV)/bin/python docs/manpages.py build/man $(PAGES)
	touch $@

# click's own mechanism: the completion asks the installed command
build/completion/stamp: $(PACKAGE) $(VENV)/runtime
	mkdir -p $(addprefix build/completion/,$(dir $(COMPLETIONS)))
	set -e; for file in $(COMPLETIONS); do \
		PYTHONPATH=. _SOCKER_COMPLETE=$${file%%[-/]*}_source $(VENV)/bin/python -m socker.cli > build/completion/$$file; \
	done
	touch $@

install: build build/wheel/stamp build/man/stamp build/completion/stamp
	install -d -m 0755 $(DESTDIR)$(LIBDIR) $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d
	install -m 0755 $(BUILT) $(DESTDIR)$(LIBDIR)/
	install -m 0644 slurm/seccomp-hpc.json $(DESTDIR)$(LIBDIR)/
	$(PYTHON) -m venv --without-pip $(DESTDIR)$(LIBDIR)/venv
	$(VENV)/bin/pip --python $(DESTDIR)$(LIBDIR)/venv/bin/python install --quiet --disable-pip-version-check \
		--no-warn-script-location --compile -r requirements.txt
	$(VENV)/bin/pip --python $(DESTDIR)$(LIBDIR)/venv/bin/python install --quiet --disable-pip-version-check \
		--no-warn-script-location --compile --no-deps --no-index --force-reinstall build/wheel/*.whl
	sed 's|@LIBDIR@|$(LIBDIR)|' slurm/socker.conf.in > $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d/socker.conf
	chmod -R go-w $(DESTDIR)$(LIBDIR)
	install -d -m 0755 $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR)
	sed 's|@LIBDIR@|$(LIBDIR)|' contrib/packaging/socker.in > $(DESTDIR)$(BINDIR)/socker
	chmod 0755 $(DESTDIR)$(BINDIR)/socker
	for page in $(PAGES); do \
		install -D -m 0644 build/man/$$page $(DESTDIR)$(SHAREDIR)/man/man$${page##*.}/$$page; done
	for file in $(COMPLETIONS); do \
		install -D -m 0644 build/completion/$$file $(DESTDIR)$(SHAREDIR)/$$file; done
	sed 's|@PREFIX@|$(PREFIX)|' contrib/systemd/socker-sweep.service.in > $(DESTDIR)$(UNITDIR)/socker-sweep.service
	install -m 0644 contrib/systemd/socker-sweep.timer $(DESTDIR)$(UNITDIR)/

uninstall:
	rm -rf $(DESTDIR)$(LIBDIR)
	rm -f $(DESTDIR)$(BINDIR)/socker $(addprefix $(DESTDIR)$(SHAREDIR)/,$(COMPLETIONS))
	rm -f $(DESTDIR)$(SHAREDIR)/man/man1/socker.1 $(addprefix $(DESTDIR)$(SHAREDIR)/man/man5/,socker-policy.5 socker-images.5)
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,socker-sweep.service socker-sweep.timer)
	rm -f $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d/socker.conf

deb: deps-build
	@$(call apt,$(call missing,$(PACKAGES_DEB)))
	contrib/packaging/deb build/deb
rpm: deps-build
	@$(call apt,$(call missing,rpm))
	contrib/packaging/rpm build/rpm

users:
	contrib/packaging/users

demo: deps build
	contrib/demo

man: build/man/stamp
lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	clang-format --dry-run --Werror spank/*.c spank/*.h tests/shim/*.c tests/shim/*.h
unit: $(VENV)/dev $(VENV)/docs
	$(VENV)/bin/python -m pytest -q tests/unit
shim: build $(VENV)/dev
	tests/shim/run $(VENV)/bin/python
system: build $(VENV)/dev
	$(VENV)/bin/python -m pytest -q $(WORKERS) tests/devcluster tests/system

check: deps build lint shim $(VENV)/docs
	$(VENV)/bin/python -m pytest $(WORKERS) tests/unit tests/devcluster tests/system

check-vm: deps-vm $(VENV)/dev
	$(VENV)/bin/python -m tests.vm --set $(SET) $(SUITE)

bench: deps build $(VENV)/dev
	$(VENV)/bin/python -m tests.bench

clean:
	rm -rf build
