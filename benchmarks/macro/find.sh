# row: find /usr, 3 times (seen before)
# quick: yes
. /mnt/macro/lib.sh
find /usr >/dev/null
again() { find /usr; find /usr; find /usr; }
timed again
[ "$(wc -l </tmp/output)" -gt 20000 ]
