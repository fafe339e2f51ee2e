#!/usr/bin/env bash
# Makes a Debian root file system with debootstrap: rootfs-debian.sh min|full|net|bench|debug [DIRECTORY]
# (default: rootfs/debian-VARIANT in the cache). `full` adds the languages and tools that the program tests
# run, `net` servers and clients, and CPython's own tests, `debug` debuggers and tracers, `bench` the 
# programs of the benchmarks and, in /bench/src, sources that they compile. The mirror is the one of this machine's apt. Does nothing where it is there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

suite=bookworm
full_packages="python3 perl gcc libc6-dev make git sqlite3 xz-utils procps psmisc strace file bc less
    golang-go nodejs default-jdk-headless"
bench_packages="python3 gcc libc6-dev make git sqlite3 xz-utils pigz golang-go redis-server redis-tools nginx-light"
net_packages="python3 libpython3.11-testsuite openssh-server openssh-client bind9-dnsutils dnsmasq-base curl wget ca-certificates openssl
    git postgresql nginx-light wrk iputils-ping iproute2 netcat-openbsd procps"
bench_sources="lua5.4 hello"
debug_packages="gdb strace ltrace python3-ptrace gcc libc6-dev procps"

variant=${1:-}
case $variant in
    min) packages= sources= ;;
    full) packages=$full_packages sources= ;;
    net) packages=$net_packages sources= ;;
    bench) packages=$bench_packages sources=$bench_sources ;;
    debug) packages=$debug_packages sources= ;;
    *) die "usage: rootfs-debian.sh min|full|net|bench|debug [DIRECTORY]" ;;
esac
target=${2:-$cache/rootfs/debian-$variant}
[ -e "$target/.complete" ] && exit 0
[ "$(id -u)" = 0 ] || die "debootstrap needs root"
command -v debootstrap >/dev/null || die "debootstrap is missing: run make deps"
mirror=$(debian_mirror $suite) || die "no apt source for $suite on this machine"

# The archive key of this machine's apt, where it has one; debootstrap checks the Release file with it.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || die "$keyring is missing: install debian-archive-keyring"

mkdir -p "$(dirname "$target")" "$cache/debs"
debs=$(cd "$cache/debs" && pwd)
exec 9>"$(dirname "$target")/.lock-$variant"
flock 9
[ -e "$target/.complete" ] && exit 0
new=$target.new.$$
trap 'rm -rf "$new"' EXIT
rm -rf "$target".new.*

arguments=(--variant=minbase --cache-dir="$debs" --keyring="$keyring")
say "making the Debian $suite $variant root in $target (minutes the first time)"
if ! debootstrap "${arguments[@]}" $suite "$new" "$mirror" >"$cache/debootstrap-$variant.log" 2>&1; then
    tail -n 5 "$cache/debootstrap-$variant.log" >&2
    die "debootstrap failed; see $cache/debootstrap-$variant.log"
fi

# All variants: no network, a name, working name look-up files.
printf 'stockade\n' >"$new/etc/hostname"
printf '127.0.0.1 localhost\n' >"$new/etc/hosts"
rm -f "$new/etc/resolv.conf" && : >"$new/etc/resolv.conf"

if [ -n "$packages" ]; then
    say "adding packages: $(echo $packages)"
    # Only the mirror's signed main archive is used inside; services must not start.
    cp -L /etc/resolv.conf "$new/etc/resolv.conf" 2>/dev/null || true
    cp -L /etc/hosts "$new/etc/hosts" 2>/dev/null || true
    printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d" && chmod 755 "$new/usr/sbin/policy-rc.d"
    [ -z "$sources" ] || printf 'deb-src %s %s main\n' "$mirror" $suite >>"$new/etc/apt/sources.list"
    unshare --mount --propagation private bash -euc '
        new=$1 debs=$2 sources=$3; shift 3
        mount --bind "$debs" "$new/var/cache/apt/archives"
        mount -t proc proc "$new/proc"
        mount -t devtmpfs dev "$new/dev" 2>/dev/null || mount --rbind /dev "$new/dev"
        export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
        chroot "$new" apt-get -q update
        chroot "$new" apt-get -q -y -o APT::Sandbox::User=root --no-install-recommends install "$@"
        mkdir "$new/bench" "$new/bench/src"
        for source in $sources; do
            chroot "$new" sh -ec "cd /bench/src; apt-get -q -o APT::Sandbox::User=root --download-only source $source
                rm -f ./*.asc; mkdir $source
                tar -xf ${source}_*.orig.tar.* -C $source --strip-components=1; rm -f ./*.dsc ./*.tar.*"
        done
    ' bash "$new" "$debs" "$sources" $packages >"$cache/debootstrap-$variant.packages.log" 2>&1 || {
        tail -n 5 "$cache/debootstrap-$variant.packages.log" >&2
        die "installing packages failed; see $cache/debootstrap-$variant.packages.log"
    }
    rm -f "$new/usr/sbin/policy-rc.d"
    : >"$new/etc/resolv.conf"
    printf '127.0.0.1 localhost\n' >"$new/etc/hosts"
fi
rm -rf "$new"/var/lib/apt/lists/* "$new"/var/cache/apt/archives/*.deb
touch "$new/.complete"
rm -rf "$target"
mv "$new" "$target"
say "done: $(du -sh "$target" | cut -f1) in $target"
