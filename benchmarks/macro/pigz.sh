# row: pigz of 27 MB, 2 threads
. /mnt/macro/lib.sh
tar -cf /tmp/python.tar -C /usr/lib python3.11
timed pigz -3 -p 2 -k /tmp/python.tar
pigz -t /tmp/python.tar.gz
