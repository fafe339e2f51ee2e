#!/usr/bin/env bash
# Makes a root file system from Debian's busybox-static: rootfs-busybox.sh [DIRECTORY]
# (default: rootfs/busybox in the cache). Does nothing where it is already there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

target=${1:-$cache/rootfs/busybox}
[ -e "$target/.complete" ] && exit 0
busybox=$(command -v busybox) || die "busybox is missing: install Debian's busybox-static"
if readelf -l "$busybox" 2>/dev/null | grep -q INTERP; then
    die "$busybox is not static: install Debian's busybox-static"
fi

say "making the busybox root in $target"
new=$target.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"/{bin,sbin,usr/bin,usr/sbin,etc,root,home,proc,sys,dev,tmp,var/log,var/tmp,run,mnt,opt}
chmod 1777 "$new/tmp" "$new/var/tmp"
chmod 700 "$new/root"
cp "$busybox" "$new/bin/busybox"
"$busybox" --list-full | while read -r applet; do
    case $applet in
        bin/busybox) ;;
        usr/*/*) ln -sf ../../bin/busybox "$new/$applet" ;;
        */*) ln -sf ../bin/busybox "$new/$applet" ;;
        *) ln -sf busybox "$new/bin/$applet" ;;
    esac
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$new/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$new/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files\n' >"$new/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n' >"$new/etc/hosts"
printf 'PRETTY_NAME="busybox"\nID=busybox\n' >"$new/etc/os-release"
touch "$new/.complete"
rm -rf "$target"
mv "$new" "$target"
