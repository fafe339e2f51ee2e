# row: redis, 20,000 GET and SET of 50 clients over a Unix socket
# quick: yes
. /mnt/macro/lib.sh
redis-server --port 0 --unixsocket /tmp/redis.sock --save '' --daemonize no >/dev/null &
await /tmp/redis.sock
timed redis-benchmark -s /tmp/redis.sock -t get,set -n 10000 -q
grep -q 'GET: ' /tmp/output
kill $!
