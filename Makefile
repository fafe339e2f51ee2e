# stockade: `make` lists the targets.

SHELL := /bin/bash
PYTHON := .venv/bin/python
export STOCKADE_CACHE ?= $(CURDIR)/.cache
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help deps build run test quicktest lint bench profile imports debug guests rootfs clean distclean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

deps: ## install what is needed: Debian packages (as root) and .venv
	@scripts/deps.sh

build: deps ## build the stub and the extensions (STOCKADE_DEV=1: quick, unoptimised)
	@if [ -f native/Makefile ]; then echo "[stockade] building native/"; $(MAKE) --no-print-directory -C native; fi
	@echo "[stockade] building extensions"
	@$(PYTHON) setup.py -q build_ext --inplace
	@$(PYTHON) sandbox/seccomp/compile.py
	@mkdir -p build/protos && protoc -I shim/protos --python_out=build/protos shim/protos/*.proto
	@/usr/bin/python3 -IS -X no_debug_ranges sandbox/bundle.py
	@$(PYTHON) -m compileall -q sandbox sentry gofer shim

run: build ## run a busybox container in the sandbox and show whose kernel answers
	@scripts/demo.sh

guests: ## build the C guest programs of the differential tests into build/guests
	@$(MAKE) --no-print-directory -C tests/guests

rootfs: deps ## make the root file systems for the tests (busybox, Debian)
	@scripts/rootfs-busybox.sh
	@scripts/rootfs-debian.sh min
	@scripts/rootfs-debian.sh full
	@scripts/rootfs-debian.sh net
	@scripts/rootfs-debian.sh debug

test: build guests rootfs ## the whole test suite, both platforms (T=… passes arguments to pytest)
	@scripts/deps.sh e2e
	@$(PYTHON) -m pytest -ra --durations=15 $(or $(T),tests)

quicktest: build guests ## the tests that need no Debian root, systrap only
	@$(PYTHON) -m pytest -q -x -m "not slow" --platform systrap $(or $(T),tests)

cpython: build ## CPython's own tests about sockets and processes, natively and in the sandbox (half an hour; T=… as for test)
	@scripts/rootfs-debian.sh net
	@STOCKADE_CPYTHON=1 $(PYTHON) -m pytest -ra --platform systrap tests/cpython $(T)

lint: deps ## ruff and cython-lint
	@$(PYTHON) -m ruff check .
	@find $(wildcard sentry gofer) -name '*.pyx' -o -name '*.pxd' | xargs -r env PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint

bench: build ## measure beside native, runc, crun, proot, runsc (QUICK=1: some minutes; B=… passes options, B=--help)
	@scripts/deps.sh bench
	@scripts/rootfs-busybox.sh
	@scripts/rootfs-debian.sh bench
	@$(PYTHON) benchmarks/bench.py $(if $(QUICK),--quick) $(B)

profile: deps ## where a sandbox's time goes: perf with symbols, and the kernel's figures (P=… passes options, P=--help)
	@scripts/deps.sh bench
	@scripts/rootfs-busybox.sh
	@$(PYTHON) benchmarks/profile_run.py $(P)

imports: build ## what each import costs the command line tool
	@$(PYTHON) benchmarks/imports.py

debug: ## build quick and unoptimised, with the leak counters on
	@STOCKADE_DEV=1 STOCKADE_DEBUG=1 $(MAKE) --no-print-directory build

clean: ## remove what was built
	rm -rf build .pytest_cache
	find $(wildcard sentry gofer) -name "*.so" -delete
	find . -path ./.venv -prune -o -path ./.cache -prune -o -name __pycache__ -print | xargs -r rm -rf
	@if [ -f native/Makefile ]; then $(MAKE) --no-print-directory -C native clean; fi

distclean: clean ## also remove .venv and the cached root file systems
	rm -rf .venv .cache
