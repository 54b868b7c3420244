#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what is missing from Debian's packages; says nothing and needs no root where nothing is.
# usage: cmake/deps.sh run|build|test|all
# run is what an installed Sluice needs; each of the others includes the one before it.
set -eu

# Programs are looked for by name, since a machine may bring its own (Node with npm often comes from elsewhere, and
# Debian's npm cannot be installed beside it); libraries by package.
run_programs="lua5.4:lua5.4"
run_packages="libuv1 zlib1g libjwt0 libhiredis0.14 libssl3 lua-cjson"
build_programs="cc:gcc cmake:cmake ninja:ninja-build pkg-config:pkg-config lua5.4:lua5.4"
build_packages="libc6-dev liblua5.4-dev libuv1-dev zlib1g-dev libjwt-dev libhiredis-dev libssl-dev node-llhttp lua-cjson"
test_programs="gcc:gcc clang:clang nm:binutils setpriv:util-linux timeout:coreutils curl:curl ps:procps node:nodejs
    script:bsdutils gzip:gzip python3:python3
    npm:npm redis-server:redis-server chromium:chromium chromedriver:chromium-driver luarocks:luarocks openssl:openssl nginx:nginx lua5.1:lua5.1
    haproxy:haproxy caddy:caddy promtool:prometheus mandoc:mandoc man:man-db bash:bash zsh:zsh fish:fish systemd-analyze:systemd"
test_packages="lua-busted lua-socket lua-sec lua-check lua-filesystem lua-yaml python3-prometheus-client libclang-rt-14-dev ca-certificates"
all_programs="g++:g++ clang-format:clang-format valgrind:valgrind gdb:gdb"
all_packages="libnginx-mod-nchan"

# The tests run these by themselves. Where they are new on this machine, their services are neither started nor enabled.
daemons="nginx haproxy caddy prometheus redis-server"

case ${1:-} in
run) programs=$run_programs packages=$run_packages ;;
build) programs=$build_programs packages=$build_packages ;;
test) programs="$build_programs $test_programs" packages="$build_packages $test_packages" ;;
all)
    programs="$build_programs $test_programs $all_programs"
    packages="$build_packages $test_packages $all_packages"
    ;;
*)
    echo "usage: cmake/deps.sh run|build|test|all" >&2
    exit 2
    ;;
esac

export PATH="$PATH:/usr/sbin:/sbin"
missing=()
for program in $programs; do
    command -v "${program%%:*}" >/dev/null || missing+=("${program##*:}")
done

if ! command -v dpkg-query >/dev/null; then
    [ ${#missing[@]} -eq 0 ] || echo "This is no Debian machine; what is missing is called there: ${missing[*]}" >&2
    exit 0
fi
# shellcheck disable=SC2086
installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $packages 2>/dev/null | sed -n 's/^ii  *//p' || true)
for package in $packages; do
    grep -qx "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "Missing, and neither root nor sudo is here. As root: apt-get install ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 "$@"
}
echo "Installing from Debian: ${missing[*]}"
apt update

new_daemons=()
for package in "${missing[@]}"; do
    [[ " $daemons " != *" $package "* ]] || new_daemons+=("$package")
done
policy=/usr/sbin/policy-rc.d # asked by packages before they start a service
if [ ${#new_daemons[@]} -gt 0 ] && [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi
apt install -y --no-install-recommends "${missing[@]}"
if [ ${#new_daemons[@]} -gt 0 ] && command -v systemctl >/dev/null; then
    "${as_root[@]}" systemctl --quiet disable "${new_daemons[@]}" || true
fi
