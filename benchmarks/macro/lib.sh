# Read by every script in this folder, which is one row of the table: it prepares, then calls `timed` once.
# Its comments say what the row is called and, with "quick: yes", that `make bench QUICK=1` has it.
set -euo pipefail
export HOME=/tmp LC_ALL=C
exec 3>&1 >&2

# Runs COMMAND… and reports the time that it took. Its output goes to /tmp/output.
timed() {
    local from=$EPOCHREALTIME to status=0
    "$@" >/tmp/output 2>&1 || status=$?
    to=$EPOCHREALTIME
    if [ $status -ne 0 ]; then
        tail -n 3 /tmp/output >&2
        exit 1
    fi
    echo "elapsed_us $((${to/./} - ${from/./}))" >&3
    if [ -n "${BENCH_HOLD:-}" ]; then read -r _; fi # until the benchmark has asked for statistics
}

# Waits for a server's socket to appear.
await() {
    for _ in $(seq 200); do
        if [ -S "$1" ]; then return; fi
        sleep 0.05
    done
    echo "$1 does not appear" >&2
    exit 1
}

# Waits until somebody listens on that port of loopback.
await_port() {
    for _ in $(seq 200); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.05
    done
    echo "nobody listens on port $1" >&2
    exit 1
}
