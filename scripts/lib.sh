# Shared by the scripts in this folder (sourced, not run).

say() { printf '%s\n' "[stockade] $*" >&2; }
die() { printf '%s\n' "[stockade] error: $*" >&2; exit 1; }

# Where root file systems and other downloads are kept: $STOCKADE_CACHE or .cache in the project.
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${STOCKADE_CACHE:-$project/.cache}

# The Debian mirror that this machine's apt uses for SUITE (the first source that carries it).
debian_mirror() {
    local suite=$1 file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        awk -v suite="$suite" '$1 == "deb" {
            sub(/\[[^]]*\]/, ""); $0 = $0
            if ($3 == suite) { print $2; exit }
        }' "$file"
    done | head -n 1 | grep . && return
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v suite="$suite" '
            function flush() { if (suites ~ (" " suite " ") && uri != "") { print uri; found = 1 } uri = ""; suites = "" }
            /^URIs:/ { uri = $2 }
            /^Suites:/ { $1 = ""; suites = $0 " " }
            /^[ \t]*$/ { flush(); if (found) exit }
            END { if (!found) flush() }' "$file"
    done | head -n 1 | grep .
}
