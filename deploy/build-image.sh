#!/usr/bin/env bash
# Builds the image of the node installer (deploy/Containerfile) with buildah, from what `make build` has built: no registry, no
# base image. The tree it carries, /opt/stockade, needs nothing of the node but a Linux kernel: it brings its Python and libraries.
#
#     deploy/build-image.sh [--tree DIR | NAME]     only make the tree in DIR; or build the image [localhost/stockade-node:latest]
set -euo pipefail
cd "$(dirname "$0")/.."

make_tree() {
    local top=$1 python=$1/python version place
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    mkdir -p "$top/bin" "$top/project/build/native" "$python/bin" "$python/lib/python3/dist-packages"
    # the project, as it runs
    tar -c --exclude=__pycache__ --exclude='*.pyx' --exclude='*.pxd' --exclude='*.c' bin sandbox sentry gofer shim LICENSE |
        tar -x -C "$top/project"
    cp build/native/stub "$top/project/build/native/"
    cp -r build/seccomp build/protos "$top/project/build/"
    # Debian's Python, without what no command needs
    cp "/usr/bin/python$version" "$python/bin/"
    tar -C /usr/lib -c --exclude=__pycache__ --exclude=test --exclude=idlelib --exclude=tkinter --exclude=lib2to3 \
        --exclude=ensurepip --exclude=distutils --exclude=pydoc_data --exclude='config-*' --exclude='*.a' "python$version" |
        tar -x -C "$python/lib"
    for place in google pyroute2 pr2modules jeepney; do
        [ ! -e "/usr/lib/python3/dist-packages/$place" ] || tar -C /usr/lib/python3/dist-packages --exclude=__pycache__ -c "$place" |
            tar -x -C "$python/lib/python3/dist-packages"
    done
    # every library that one of them loads, and the loader
    find "$top" \( -name '*.so' -o -name "python$version" \) -type f -print0 | xargs -0 -n1 ldd 2>/dev/null |
        sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u | xargs -I{} cp -L {} "$python/lib/"
    cp -L /lib64/ld-linux-x86-64.so.2 "$python/lib/ld.so"
    # what the node runs: the loader by name, so that nothing of the node's C library is used
    wrapper() {
        printf '#!/bin/sh\np=/opt/stockade/python\nexec $p/lib/ld.so --argv0 $p/bin/python%s --library-path $p/lib $p/bin/python%s %s"$@"\n' \
            "$version" "$version" "$2" >"$top/bin/$1"
        chmod 755 "$top/bin/$1"
    }
    wrapper python "-IS "
    wrapper stockade "-IS /opt/stockade/project/bin/stockade "
    wrapper containerd-shim-stockade-v1 "-IS /opt/stockade/project/bin/containerd-shim-stockade-v1 "
    cp deploy/installer.py "$top/"
    "/usr/bin/python3" -m compileall -q -x 'bad_coding|badsyntax' "$python/lib" "$top/project" >/dev/null
    # what is installed is named by its content
    (cd "$top" && find . -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16) >"$top/version"
}

if [ "${1:-}" = --tree ]; then
    mkdir -p "$2"
    make_tree "$2"
    exit
fi

name=${1:-localhost/stockade-node:latest}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/root/opt/stockade" "$context/root/bin" "$context/root/tmp" "$context/root/host"
make_tree "$context/root/opt/stockade"
cp -L "$(command -v busybox)" "$context/root/bin/busybox" # static: package busybox-static
for applet in sh chroot sleep ls cat; do ln -s busybox "$context/root/bin/$applet"; done
buildah bud ${BUILDAH_FLAGS:-} -f deploy/Containerfile -t "$name" "$context"
