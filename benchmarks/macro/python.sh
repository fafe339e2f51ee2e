# row: CPython start-up, 20 times
# quick: yes
. /mnt/macro/lib.sh
start() { for _ in $(seq 20); do python3 -c pass; done; }
python3 -c pass
timed start
