#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds the rocks into build/rock, without a network: the tree as `luarocks make` installs it (build/rock/tree), the same packed as a binary rock, and
# the source rock of the version. lua-cjson is the system's, as config.lua says.
set -eu
cd "$(dirname "$0")/.."
command -v luarocks >/dev/null || {
    echo "luarocks is missing: run \`make deps\`, or install Debian's package luarocks" >&2
    exit 1
}
version=$(sed -n 's/^return "\(.*\)"$/\1/p' lua/sluice/version.lua)
out=$PWD/build/rock
name=sluice-$version
mkdir -p "$out"

# The revision need not be right: dependencies are compared by version.
lua5.4 - >"$out/config.lua" <<'LUA'
local ok, cjson = pcall(require, "cjson")
if not ok then
  io.stderr:write("lua-cjson is missing: run `make deps`, or install Debian's package lua-cjson\n")
  os.exit(1)
end
print(('rocks_provided = { ["lua-cjson"] = "%s-1" }'):format(cjson._VERSION:match("^[%d.]+")))
LUA

export LUAROCKS_CONFIG=$out/config.lua
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
export CMAKE_BUILD_PARALLEL_LEVEL
luarocks --lua-version 5.4 --tree "$out/tree" make rockspec/sluice-scm-1.rockspec
(cd "$out" && luarocks --lua-version 5.4 --tree "$out/tree" pack sluice scm-1)

tar -c --exclude-vcs --exclude=./build --exclude=./build.luarocks --exclude=./.cache --exclude=*.rock --transform "s,^\.,$name," -zf "$out/$name.tar.gz" . ||
    [ $? -eq 1 ] # a file changed meanwhile
cp "rockspec/$name-1.rockspec" "$out/"
# What `luarocks pack` makes of a rockspec, which it only does where the source's URL is a whole one.
(cd "$out" && cmake -E tar cf "$name-1.src.rock" --format=zip "$name-1.rockspec" "$name.tar.gz")
