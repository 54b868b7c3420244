# SPDX-License-Identifier: MIT
# The everyday commands; the build itself is CMakeLists.txt. CONTRIBUTING.md says more.
#   make          builds the release into build/release, which bin/sluice runs
#   make serve    installs what is missing, builds, serves examples/quickstart on 127.0.0.1:8080
#   make test     installs what is missing, builds, runs every spec, C test and lint

PREFIX ?= /usr/local
CONFIG ?= examples/quickstart/sluice.conf.lua
BENCH ?= quick
FUZZ_SECONDS ?= 60
TEST_FUZZ_SECONDS ?= 20

.DEFAULT_GOAL := all
.NOTPARALLEL:
.PHONY: all dev deps deps-build deps-test serve test lint asan tsan fuzz soak valgrind bench rock test-rock bare install uninstall doc format clean

all:
	@cmake/build.sh release core

dev:
	@cmake/build.sh dev

# Everything for building, testing and benching; the other two are the parts that serve and test cannot do without.
deps:
	@cmake/deps.sh all
	@cmake/npm.sh

deps-build:
	@cmake/deps.sh build

deps-test:
	@cmake/deps.sh test

serve: deps-build all
	@echo "Serving $(CONFIG); Ctrl-C ends it. The address follows."
	@exec bin/sluice serve --config $(CONFIG)

test: deps-test
	@FUZZ_SECONDS=$(TEST_FUZZ_SECONDS) spec/run

lint: deps-test
	@spec/run lint

asan tsan: deps-test
	@spec/run --preset $@

fuzz: deps-test
	@FUZZ_SECONDS=$(FUZZ_SECONDS) spec/run fuzz

# BENCH is quick or full, then what cases (see bench/run.lua --help).
bench: deps
	@cmake/build.sh release core bench_load bench_floor
	@lua5.4 bench/run.lua $(BENCH)

# SOAK="--connections 20000 ..." makes it shorter; spec/soak/soak.lua tells the flags.
soak: deps-test
	@cmake/build.sh release core
	@LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;;" lua5.4 spec/soak/soak.lua $(SOAK)

# One short session under valgrind; the specs' own session, so what it does is in spec/support/session.lua.
valgrind: deps-test
	@cmake/build.sh release core
	@lua5.4 spec/soak/valgrind.lua

# build/rock: the tree that LuaRocks installs, the binary rock, and the source rock of the version.
rock: deps-test
	@cmake/rock.sh

# Every spec, with the installed rock in the place of the source tree. `make test` has a part of it.
test-rock: rock
	@spec/run --installed build/rock/tree

# `make serve` and `make test` in a bare Debian root of its own; as root.
bare:
	@cmake/bare.sh

# DESTDIR is honoured, for packagers.
install: all
	cmake --install build/release --prefix $(PREFIX)

# Removes what the last install put there, from the same DESTDIR.
uninstall:
	cmake -P cmake/uninstall.cmake

# Writes anew what is made from other sources: doc/reference.md, doc/configuration.md, the annotations of the settings, the manual page, completions.
doc:
	@LUA_PATH="./?.lua;./lua/?.lua;./lua/?/init.lua;;" LUA_CPATH="build/release/?.so;;" lua5.4 doc/generate/reference.lua

format:
	clang-format -i core/*.[ch] $(wildcard spec/c/*.[ch] spec/fuzz/*.c)

clean:
	rm -rf build build.luarocks
