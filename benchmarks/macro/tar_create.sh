# row: tar, packing /usr/lib/python3.11
. /mnt/macro/lib.sh
timed tar -cf /tmp/python.tar -C /usr/lib python3.11
[ "$(wc -c </tmp/python.tar)" -gt 20000000 ]
