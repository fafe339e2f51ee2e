# 40,000 GET and SET of 50 clients over loopback; network.py
. /mnt/macro/lib.sh
redis-server --port 6390 --bind 127.0.0.1 --save '' --daemonize no >/dev/null &
await_port 6390
timed redis-benchmark -p 6390 -t get,set -n 20000 -q
grep -q 'GET: ' /tmp/output
kill $!
