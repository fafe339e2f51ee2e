# root: bench
# timeout: 150
# Servers and clients from Debian, and Python's standard library, over Unix sockets.
cd /tmp
await() { for i in $(seq 200); do [ -S "$1" ] && return; sleep 0.05; done; echo "no $1"; }

if command -v redis-server >/dev/null; then
echo "== redis"
redis-server --port 0 --unixsocket /tmp/redis.sock --unixsocketperm 700 --save '' --daemonize no >/tmp/redis.log 2>&1 &
server=$!
await /tmp/redis.sock
redis-cli -s /tmp/redis.sock set greeting hello
redis-cli -s /tmp/redis.sock get greeting
for i in $(seq 300); do echo "INCR counter"; done | redis-cli -s /tmp/redis.sock | tail -1
redis-benchmark -s /tmp/redis.sock -t set,get,lpush -n 3000 -c 30 -P 4 -q | sed 's/:.*//' | tr '\r' '\n' | sort -u
redis-cli -s /tmp/redis.sock shutdown nosave
wait $server
fi

if command -v nginx >/dev/null; then
echo "== nginx"
mkdir -p /tmp/www /tmp/ng
seq 20000 >/tmp/www/numbers
echo hello >/tmp/www/index.html
cat >/tmp/ng/conf <<'END'
user root; worker_processes 2; pid /tmp/ng/pid; error_log /tmp/ng/error; events { worker_connections 64; }
http { access_log off; sendfile on; client_body_temp_path /tmp/ng/b; proxy_temp_path /tmp/ng/p; fastcgi_temp_path /tmp/ng/f;
  uwsgi_temp_path /tmp/ng/u; scgi_temp_path /tmp/ng/s;
  server { listen unix:/tmp/ng/front; location / { proxy_pass http://unix:/tmp/ng/back:/; } }
  server { listen unix:/tmp/ng/back; root /tmp/www; } }
END
nginx -c /tmp/ng/conf -e /tmp/ng/error -g 'daemon off;' & server=$!
await /tmp/ng/front
python3 - <<'END'
import socket
for path in ("index.html", "numbers", "missing"):
    for name in ("back", "front"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"/tmp/ng/{name}")
        s.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
        data = b"".join(iter(lambda: s.recv(5000), b""))
        head, _, body = data.partition(b"\r\n\r\n")
        print(name, path, head.split(b"\r\n")[0].decode(), len(body), sum(body) % 65521)
END
kill -QUIT $server
wait $server
fi

echo "== python"
python3 - <<'END'
import array, asyncio, multiprocessing, os, socket, socketserver, struct, threading

def child(connection, queue, lock):
    with lock:
        connection.send({"pid": 1, "data": b"x" * 100000})
        queue.put([i * i for i in range(1000)])
        connection.close()

context = multiprocessing.get_context("fork")
ours, theirs = context.Pipe()
queue, lock = context.Queue(), context.Lock()
process = context.Process(target=child, args=(theirs, queue, lock))
process.start()
print(len(ours.recv()["data"]), sum(queue.get()))
process.join()
print("exit", process.exitcode)
with context.Pool(3) as pool:
    print(sum(pool.map(abs, range(-500, 500))))
from multiprocessing.connection import Client, Listener
with Listener("/tmp/listener", authkey=b"secret") as listener:
    def serve():
        with listener.accept() as c:
            c.send(c.recv()[::-1])
    thread = threading.Thread(target=serve)
    thread.start()
    with Client("/tmp/listener", authkey=b"secret") as c:
        c.send(list(range(5)))
        print(c.recv())
    thread.join()

a, b = socket.socketpair()
with open("/tmp/passed", "w+") as file:
    file.write("through the socket")
    file.flush()
    socket.send_fds(a, [b"one"], [file.fileno(), 1])
data, fds, flags, address = socket.recv_fds(b, 10, 5)
print(data, len(fds), flags, os.pread(fds[0], 100, 0))
a.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
b.sendmsg([b"cred"])
data, control, *_ = a.recvmsg(10, 100)
print(data, struct.unpack("iii", control[0][2])[0] == os.getpid())

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

with socketserver.ThreadingUnixStreamServer("/tmp/echo", Echo) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/tmp/echo")
        s.sendall(b"some\nlines\n")
        s.shutdown(socket.SHUT_WR)
        print(s.makefile("rb").read())
    server.shutdown()

async def main():
    async def handle(reader, writer):
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()
    async def client(i):
        reader, writer = await asyncio.open_unix_connection("/tmp/asyncio")
        writer.write(b"%04d" % i)
        got = await reader.read()
        writer.close()
        return int(got)
    async with await asyncio.start_unix_server(handle, "/tmp/asyncio"):
        print(sum(await asyncio.gather(*(client(i) for i in range(300)))))
asyncio.run(main())
END
