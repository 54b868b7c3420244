#!/bin/bash
# SPDX-License-Identifier: MIT
# Does what README.md begins with in a bare Debian 12: makes its smallest root with debootstrap, puts a copy of this tree into it, and runs `make serve` and
# `make test` there. Packages come from where this machine's own apt gets them. Needs root and some 6 GB; the root goes again in the end.
# usage: cmake/bare.sh [--keep] [COMMAND]...      default: serve test
# COMMAND is serve, test, service (boots systemd there and tries the unit; needs Debian's package systemd-container), or what the shell in the copy is to run.
set -eu
cd "$(dirname "$0")/.."

keep=
[ "${1:-}" != --keep ] || {
    keep=yes
    shift
}
[ $# -gt 0 ] || set -- serve test

say() {
    echo "cmake/bare.sh: $*" >&2
}
[ "$(id -u)" -eq 0 ] || {
    say "only root may make a root of its own: sudo make bare"
    exit 1
}
command -v debootstrap >/dev/null || {
    say "debootstrap is missing: install Debian's package debootstrap"
    exit 1
}

# "suite URL" of each source of Debian's own that apt has.
# shellcheck disable=SC2016 # apt's own variables
sources=$(apt-get indextargets --format '$(ORIGIN)|$(RELEASE) $(SITE)' 'Created-By: Packages' | sed -n 's/^Debian|\(bookworm.*\)$/\1/p' | sort -u)
mirror=$(sed -n 's/^bookworm //p' <<<"$sources" | head -n 1)
[ -n "$mirror" ] || {
    say "apt has no source of Debian bookworm here (or no lists yet: apt-get update)"
    exit 1
}
proxy=$(apt-config shell p Acquire::http::Proxy | sed -n "s/^p='\(.*\)'$/\1/p")

root=$(mktemp -d /var/tmp/sluice-bare.XXXXXX)
chmod 755 "$root" # apt downloads as somebody else
# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    if [ -n "$keep" ]; then
        say "kept in $root"
    else
        rm -rf --one-file-system "$root"
    fi
}
trap clean_up EXIT

say "making a root in $root"
http_proxy=${proxy:-${http_proxy:-}} debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || {
    tail "$root.log" >&2
    exit 1
}
rm -f "$root.log"
awk '{ print "deb", $2, $1, "main" }' <<<"$sources" >"$root/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::https?::(Proxy|CaInfo)' >"$root/etc/apt/apt.conf.d/90machine" || true
cp /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then # packages and npm may come over TLS from somebody this machine trusts
    mkdir -p "$root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/machine.crt"
fi

mkdir -p "$root/src"
tar -c --exclude-vcs --exclude=./build --exclude=./build.luarocks . | tar -x -C "$root/src"

environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 NODE_EXTRA_CA_CERTS=/etc/ssl/certs/machine.crt)
for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
registry=$(npm config get registry 2>/dev/null || true)
[ -z "$registry" ] || environment+=("npm_config_registry=$registry")

# Runs a script in the root, with mounts and processes that end with it.
enter() {
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child -- sh -euc '
        root=$1 script=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm"
        mount -t tmpfs tmpfs "$root/run"
        exec env -i "$@" chroot "$root" sh -euc "cd /src; $script"' sh "$root" "$1" "${environment[@]}"
}

# Boots the root with systemd, runs a script as a service there, and shows what it prints; its exit status is that of this.
boot() {
    command -v systemd-nspawn >/dev/null || {
        say "systemd-nspawn is missing: install Debian's package systemd-container"
        return 1
    }
    printf '#!/bin/sh\n(set -eux; %s) >/check.log 2>&1\necho $? >/check.status\nsystemctl poweroff\n' "$1" >"$root/check.sh"
    chmod 755 "$root/check.sh"
    printf '[Service]\nType=oneshot\nExecStart=/check.sh\n[Install]\nWantedBy=multi-user.target\n' >"$root/etc/systemd/system/check.service"
    ln -sf ../check.service "$root/etc/systemd/system/multi-user.target.wants/check.service"
    timeout 300 systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --private-network </dev/null >"$root/boot.log" 2>&1 || true
    cat "$root/check.log"
    return "$(cat "$root/check.status")"
}

# Whoever has a clone has these two.
enter 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends git make' >/dev/null

failed=0
for command in "$@"; do
    say "running: $command"
    case $command in
    serve)
        # The reader's two steps: the command, and a look at the address that it prints.
        # shellcheck disable=SC2016
        enter 'make serve >/tmp/serve.log 2>&1 & make=$!
            n=0
            until grep -q "sluice: listening on http://127.0.0.1:8080" /tmp/serve.log; do
                kill -0 $make 2>/dev/null && [ $n -lt 900 ] || { tail -n 20 /tmp/serve.log; exit 1; }
                n=$((n + 1)); sleep 1
            done
            lua5.4 -e "
                local core = package.loadlib(\"build/release/sluice/core.so\", \"luaopen_sluice_core\")()
                for _, path in ipairs{ \"/\", \"/health\" } do
                  local answer = core.http_request(\"127.0.0.1\", 8080, \"GET \" .. path .. \" HTTP/1.0\\r\\nHost: 127.0.0.1:8080\\r\\n\\r\\n\", 5)
                  assert(answer:find(\"^HTTP/1.%d 200 \"), answer)
                  print(path, answer:match(\"^[^\\r]*\"))
                end"' || failed=1
        ;;
    test) enter 'make test' || failed=1 ;;
    service)
        enter 'DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends systemd systemd-sysv curl
            make deps-build install PREFIX=/usr
            rm -rf /etc/sluice
            sluice init /etc/sluice' >/dev/null
        # shellcheck disable=SC2016
        boot 'systemctl start sluice
            curl -sS --fail http://127.0.0.1:8080/health
            systemctl status --no-pager sluice | grep "Status: \"Listening on port 8080, generation 1\""
            curl -sSN "http://127.0.0.1:8080/events?channel=a" >/stream.log & stream=$!
            until grep sluice.open /stream.log; do sleep 0.1; done
            curl -sS --fail --data hello "http://127.0.0.1:8080/publish?channel=a"
            systemctl reload sluice
            systemctl status --no-pager sluice | grep "generation 2"
            pid=$(systemctl show --property MainPID --value sluice)
            grep "NoNewPrivs:.1" /proc/$pid/status
            grep "CapEff:.0000000000000000" /proc/$pid/status
            grep "Seccomp:.2" /proc/$pid/status
            if grep "^Uid:.0" /proc/$pid/status; then exit 1; fi
            systemctl stop sluice
            wait $stream
            grep "data: hello" /stream.log
            systemctl show --property Result --property ExecMainStatus sluice | grep ExecMainStatus=0' || failed=1
        ;;
    *) enter "$command" || failed=1 ;;
    esac
done
[ "$failed" -ne 0 ] || say "all is well"
exit "$failed"
