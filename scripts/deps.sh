#!/usr/bin/env bash
# Installs what stockade needs to build and test: Debian packages (only those missing, only as
# root) and the virtual environment .venv from requirements.txt. deps.sh bench adds what benchmarks
# need, deps.sh e2e the container engines that drive stockade in tests/e2e.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$project"

packages="gcc make libc6-dev python3 python3-dev python3-venv libseccomp2 busybox-static debootstrap
    debian-archive-keyring xz-utils util-linux procps binutils libzydis-dev iproute2
    python3-pyroute2 python3-jeepney protobuf-compiler python3-protobuf python3-yaml"
[ "${1:-}" = e2e ] && packages="$packages runc crun containerd containernetworking-plugins docker.io podman buildah conmon uidmap dbus-daemon"
[ "${1:-}" = bench ] && packages="$packages runc crun proot runsc linux-perf iperf3 wrk"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
        missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        say "installing Debian packages:$missing"
        wait_lock="-o DPkg::Lock::Timeout=600"
        apt-get -q $wait_lock update >/dev/null || say "apt-get update failed; trying the lists at hand"
        DEBIAN_FRONTEND=noninteractive apt-get -q -y $wait_lock install --no-install-recommends $missing
    else
        die "missing Debian packages; as root: apt-get install$missing"
    fi
fi

# lwIP is built from Debian's source with options of our own (native/lwip.mk); its licence is BSD. Where that source is not
# to be had, all is built but the network of --network=sandbox.
fetch_lwip() {
    local sources=$cache/lwip version=2.1.3+dfsg1 work
    local sum=0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24
    [ -f "$sources/.done-$version" ] && return
    say "fetching the source of lwip $version"
    work=$(mktemp -d)
    mkdir -p "$work/parts" "$work/lists/partial" "$sources"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] && sed -n 's/^deb /deb-src /p' "$file"
    done >"$work/sources.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/parts/$(basename "$file")"
    done
    (
        cd "$work"
        apt="-q -o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=$work/parts -o Dir::State::Lists=$work/lists"
        apt-get $apt update >/dev/null 2>&1 || say "apt-get update failed for some sources"
        { apt-get $apt source --download-only "lwip=$version-2" || apt-get $apt source --download-only lwip; } >/dev/null 2>&1 &&
            echo "$sum  lwip_$version.orig.tar.xz" | sha256sum -c --quiet &&
            tar -xf "lwip_$version.orig.tar.xz" -C "$sources" --strip-components=1 &&
            touch "$sources/.done-$version"
    ) || say "no source of lwip $version (deb-src): --network=sandbox will not have interfaces beside the loopback"
    rm -rf "$work"
}
fetch_lwip

install_python() {
    local file=$1 stamp=.venv/.installed-$(basename "$1")
    cmp -s "$file" "$stamp" && return
    say "installing Python packages of $file into .venv"
    [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check -r "$file" 2> >(grep -v 'is ignored: it is neither' >&2)
    cp "$file" "$stamp"
}
install_python requirements.txt
[ "${1:-}" = bench ] && install_python requirements-bench.txt
exit 0
