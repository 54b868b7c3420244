#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs the npm clients that the specs use, as locked in spec/npm, into build/npm; at once where they are there.
set -eu
cd "$(dirname "$0")/.."
if cmp -s spec/npm/package-lock.json build/npm/installed.json; then
    exit 0
fi
command -v npm >/dev/null || {
    echo "npm is missing: run \`make deps\`, or install Debian's package npm" >&2
    exit 1
}
mkdir -p build/npm
cp spec/npm/package.json spec/npm/package-lock.json build/npm/
(cd build/npm && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null)
cp spec/npm/package-lock.json build/npm/installed.json
