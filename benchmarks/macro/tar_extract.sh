# row: tar, unpacking it on the root
# quick: yes
. /mnt/macro/lib.sh
tar -cf /tmp/python.tar -C /usr/lib python3.11
timed tar -xf /tmp/python.tar -C /var/tmp
[ -f /var/tmp/python3.11/os.py ]
