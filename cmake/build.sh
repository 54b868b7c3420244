#!/bin/bash
# SPDX-License-Identifier: MIT
# Configures a preset where it was not yet, and builds it into build/<preset>.
# usage: cmake/build.sh PRESET [argument of the build tool | target]...
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift

for need in cc:gcc cmake:cmake ninja:ninja-build; do
    command -v "${need%%:*}" >/dev/null || {
        echo "${need%%:*} is missing: run \`make deps\`, or install Debian's package ${need##*:}" >&2
        exit 1
    }
done

# Ninja configures again by itself when a CMake file changes; the presets it does not know.
if [ ! -e "build/$preset/build.ninja" ] || [ CMakePresets.json -nt "build/$preset/build.ninja" ]; then
    cmake --preset "$preset"
fi
exec ninja -C "build/$preset" "$@"
