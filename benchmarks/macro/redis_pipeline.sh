# row: redis, 400,000 GET and SET, 16 at a time
. /mnt/macro/lib.sh
redis-server --port 0 --unixsocket /tmp/redis.sock --save '' --daemonize no >/dev/null &
await /tmp/redis.sock
timed redis-benchmark -s /tmp/redis.sock -t get,set -n 200000 -P 16 -q
grep -q 'GET: ' /tmp/output
kill $!
