#!/usr/bin/env bash
# `make run`: an OCI bundle from busybox-static, run by stockade. The commands below show that a
# kernel of its own answers. demo.sh [COMMAND…] runs a command of yours instead.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$project"

scripts/rootfs-busybox.sh
bundle=$cache/demo
mkdir -p "$bundle"
ln -sfn "$(cd "$cache/rootfs/busybox" && pwd)" "$bundle/rootfs"
rm -f "$bundle/config.json"
bin/stockade spec --bundle "$bundle"

if [ $# -eq 0 ]; then
    set -- /bin/sh -c '
        echo "--- the kernel that answers (uname -a; /proc/version):"
        uname -a
        cat /proc/version
        echo "--- its processes (ps):"
        ps
        echo "--- its files (ls -l /):"
        ls -l /
        echo "--- its mounts (/proc/mounts):"
        cat /proc/mounts
        echo "--- a pipeline of processes:"
        seq 1 100 | grep 7 | wc -l
        echo "hello from inside the stockade"'
fi
.venv/bin/python - "$bundle/config.json" "$@" <<'PY'
import json, sys
path, *command = sys.argv[1:]
with open(path) as file:
    config = json.load(file)
config["process"]["args"] = command
config["process"]["terminal"] = False
with open(path, "w") as file:
    json.dump(config, file, indent=4)
PY
say "the host's kernel: $(uname -srv)"
say "running: bin/stockade run --bundle $bundle demo"
exec bin/stockade run --bundle "$bundle" "demo-$$" </dev/null
