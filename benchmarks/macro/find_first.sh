# row: find /usr -ls, the first time
. /mnt/macro/lib.sh
timed find /usr -ls
[ "$(wc -l </tmp/output)" -gt 20000 ]
