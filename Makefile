# SPDX-License-Identifier: Apache-2.0
# Everything sets itself up: `make demo` and `make test` work on a fresh Debian 12.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# bpftool, tcpdump and others live in sbin, which Debian leaves out of a user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

PYTHON ?= /usr/bin/python3
CLANG ?= clang-19
CLANG_FORMAT ?= clang-format-19
BPFTOOL ?= bpftool

VENV := .venv
BIN := $(VENV)/bin
VENV_READY := $(VENV)/ready
PACKAGES_READY := build/packages-ready
AS_ROOT := tools/as-root.sh

BPF_OBJECT := src/iovisor_ovn/dataplane/programs/machine.bpf.o
# The object that defines the shared maps comes first: libbpf 1.1's linker mixes up the offsets
# of maps that it meets as extern before their definition.
BPF_FIRST := bpf/machine/machine.bpf.c
BPF_SOURCES := $(BPF_FIRST) \
	$(filter-out $(BPF_FIRST),$(sort $(wildcard bpf/machine/*.bpf.c bpf/iomodules/*/*.bpf.c)))
BPF_PARTS := $(BPF_SOURCES:bpf/%.bpf.c=build/bpf/%.o)
BPF_FLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wshadow -Wimplicit-fallthrough \
	-I bpf -I src/iovisor_ovn/sdk/include -I /usr/include/$(shell uname -m)-linux-gnu
C_FILES := $(shell find bpf examples src tests -name '*.[ch]')

PYTEST := $(BIN)/pytest
# Tests of several files at a time, where there are several CPUs; ARGS='-n 0' is one after the other.
PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile
# What follows on the command line reaches pytest: make test-unit ARGS='-k lexer -x'
ARGS ?=
FUZZ := build/fuzz
FUZZ_ENV := PYTHONPATH=tests:tests/bpf
FUZZ_FLAGS = -max_total_time=$(TIME) -timeout=10 -artifact_prefix=$(FUZZ)/ -print_final_stats=1
PARSE_HOST_FLAGS := tests/unit/bpf_lib/parse_host.flags
LANGUAGE_JUDGES := tests/unit/compiler/test_judges.py tests/unit/mainlogic/test_kinds.py tests/bpf/machine/test_machine_judges.py \
	tests/functional/test_ovn_parser.py
# The release of OVN that demo, functional, system and differential tests run with: 23.03 or 25.03.
OVN ?= 23.03

.PHONY: help build bpf demo demo-up demo-down example example-up example-down lint fmt type test \
	test-release test-unit coverage test-bpf test-functional test-system test-differential \
	differential mutations fuzz-language fuzz-parser bench docs clean ovn-root

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: $(BIN)/iovisor-ovn bpf ## leave a working .venv/bin/iovisor-ovn

bpf: $(BPF_OBJECT) ## compile and link the eBPF programs

demo: build ovn-root ## build a small cloud, show who may reach whom, remove it
	$(AS_ROOT) $(BIN)/python -m iovisor_ovn.demo run --ovn=$(OVN)

demo-up: build ovn-root ## the same cloud, kept running; prints what to try
	$(AS_ROOT) $(BIN)/python -m iovisor_ovn.demo up --ovn=$(OVN)

demo-down: build ## remove what demo-up left
	$(AS_ROOT) $(BIN)/python -m iovisor_ovn.demo down

# Which example, by its folder: make example NAME=nat_router
NAME ?= switch
EXAMPLES := $(BIN)/python -m iovisor_ovn.demo.examples

example: build ## type the commands of an example's README, compare what they print; NAME=switch
	$(AS_ROOT) $(EXAMPLES) run examples/$(NAME)

example-up: build ## make an example's hosts and chain, to try its README by hand; NAME=switch
	$(AS_ROOT) $(EXAMPLES) up examples/$(NAME)

example-down: build ## remove what example-up left
	$(AS_ROOT) $(EXAMPLES) down

lint: $(VENV_READY) $(PACKAGES_READY) type ## style, types, spelling, licences; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
	$(BIN)/codespell
	$(BIN)/python tools/check_files.py
	$(BIN)/python tools/gen_abi.py --check

type: $(VENV_READY) ## mypy --strict
	$(BIN)/mypy

fmt: $(VENV_READY) $(PACKAGES_READY) ## rewrite files in the house's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(CLANG_FORMAT) -i $(C_FILES)

test: lint build ovn-root ## every tier
	$(AS_ROOT) $(PYTEST) $(PARALLEL) --ovn=$(OVN) $(ARGS)

test-release: build ovn-root ## the tiers that depend on the release: make test-release OVN=25.03
	$(AS_ROOT) $(PYTEST) $(PARALLEL) tests/functional tests/system tests/differential --ovn=$(OVN) \
		--ignore-glob='*/test_standalone_*' --ignore=tests/system/test_examples.py $(ARGS)

test-unit: $(VENV_READY) ## no privileges, under a minute
	$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

coverage: $(VENV_READY) ## which branches the unit tests reach
	$(BIN)/coverage run -m pytest tests/unit $(ARGS)
	$(BIN)/coverage report

test-bpf: build ## packets through loaded programs
	$(AS_ROOT) $(PYTEST) $(PARALLEL) tests/bpf examples $(ARGS)

test-functional: build ovn-root ## real database servers, no traffic
	$(AS_ROOT) $(PYTEST) $(PARALLEL) tests/functional --ovn=$(OVN) $(ARGS)

test-system: build ovn-root ## namespaces and traffic; ARGS=--flavor=ovn asks ordinary OVN
	$(AS_ROOT) $(PYTEST) $(PARALLEL) tests/system --ovn=$(OVN) $(ARGS)

test-differential: build ovn-root ## recorded cases and two minutes of random packets beside ordinary OVN
	$(AS_ROOT) $(PYTEST) tests/differential --ovn=$(OVN) $(ARGS)

# How many cases or packets, and the seed of the first: make fuzz-language N=1000 SEED=7
N ?=
SEED ?=

fuzz-language: build ## random flows, packets and texts before three judges and OVN's parser
	$(AS_ROOT) $(PYTEST) -q --timeout=0 $(LANGUAGE_JUDGES) --fuzz-count=$(or $(N),300) \
		$(if $(SEED),--fuzz-seed=$(SEED)) $(ARGS)

differential: build ovn-root ## random packets beside ordinary OVN; N=packets SEED=number ARGS='--replay FILE'
	$(AS_ROOT) env PYTHONPATH=src:tests $(BIN)/python -m differential.run --ovn=$(OVN) \
		--packets $(or $(N),10000) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Seconds that each of the two parsers is fuzzed.
TIME ?= 60

fuzz-parser: $(FUZZ)/parse $(VENV)/fuzz-ready ## coverage-guided inputs for the parsers of packets and of texts
	$(FUZZ_ENV) $(BIN)/python -m fuzz.corpus packets $(FUZZ)/packets
	$(FUZZ_ENV) $(BIN)/python -m fuzz.corpus texts $(FUZZ)/texts
	$(FUZZ)/parse -max_len=1024 $(FUZZ_FLAGS) $(FUZZ)/packets
	$(FUZZ_ENV) $(BIN)/python -m fuzz.language -max_len=1024 $(FUZZ_FLAGS) $(FUZZ)/texts

$(FUZZ)/parse: $(PARSE_HOST_FLAGS) $(C_FILES) $(PACKAGES_READY)
	mkdir -p $(@D)
	$(CLANG) $(shell cat $(PARSE_HOST_FLAGS)) -fsanitize=fuzzer -DWITH_FUZZER -o $@

$(VENV)/fuzz-ready: $(VENV_READY)
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	touch $@

mutations: build ## put faults in, one at a time; the comparison must catch each
	$(AS_ROOT) env PYTHONPATH=src:tests $(BIN)/python -m differential.mutations $(ARGS)

bench: build ## measure; figures to standard output
	$(AS_ROOT) $(BIN)/python bench/run.py $(ARGS)

docs: $(VENV_READY) ## check that links between the pages lead somewhere
	$(BIN)/python tools/check_files.py --links

clean: ## remove what was built, the virtual environment included
	rm -rf build $(VENV) $(dir $(BPF_OBJECT)) src/*.egg-info .mypy_cache .ruff_cache .pytest_cache

# -- set-up ------------------------------------------------------------------------------

$(PACKAGES_READY): tools/setup.sh
	tools/setup.sh all
	mkdir -p $(@D)
	touch $@

$(VENV_READY): pyproject.toml tools/setup.sh
	tools/setup.sh base
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

$(BIN)/iovisor-ovn: $(VENV_READY)

# Is quick when there is nothing to do.
ovn-root:
	tools/ovn-root.sh $(OVN)

# -- eBPF --------------------------------------------------------------------------------

build/bpf/%.o: bpf/%.bpf.c Makefile | $(PACKAGES_READY)
	mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) -MMD -MP -c $< -o $@

# The list of parts is written down so that a part that is removed links anew.
build/bpf/parts: FORCE
	@mkdir -p $(@D)
	@echo '$(BPF_PARTS)' | cmp -s - $@ || echo '$(BPF_PARTS)' > $@

$(BPF_OBJECT): $(BPF_PARTS) build/bpf/parts
	mkdir -p $(@D)
	$(BPFTOOL) gen object $@ $(BPF_PARTS)

.PHONY: FORCE
FORCE:

-include $(BPF_PARTS:.o=.d)
