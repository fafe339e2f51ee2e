"""Servers and clients from Debian on both sides of a veth pair: in the sandbox with its own stack, and natively."""

import re

import pytest
from network_helpers import output, wait_for_port

pytestmark = pytest.mark.slow

KEYS = """
mkdir -p /run/sshd ~/.ssh
touch ~/.hushlogin
cp /shared/key ~/.ssh/id_ed25519; cp /shared/key.pub ~/.ssh/authorized_keys
chmod -R go= ~/.ssh
printf 'StrictHostKeyChecking no\\nUserKnownHostsFile /dev/null\\nLogLevel ERROR\\n' >~/.ssh/config
"""
SSHD = KEYS + "exec /usr/sbin/sshd -D -p 2222 -E /tmp/log"
SSH = KEYS + """
for i in $(seq 100); do nc -z HOST 2222 && break; sleep 0.1; done
ssh -p 2222 HOST 'echo "user $(id -un)"; exit 3'; echo "exit $?"
ssh -tt -p 2222 HOST 'tty; stty size' </dev/null | tr -d '\\r'
head -c 5000000 /dev/urandom >/tmp/data
scp -q -P 2222 /tmp/data HOST:/tmp/copy
scp -q -P 2222 HOST:/tmp/copy /tmp/back
cmp /tmp/data /tmp/back && echo same
[ "$(ssh -p 2222 HOST sha256sum </tmp/data)" = "$(sha256sum </tmp/data)" ] && echo piped
"""
NGINX = """
mkdir -p /tmp/ng /tmp/www; seq 200000 >/tmp/www/numbers; echo hello >/tmp/www/index.html
cat >/tmp/ng/conf <<'END'
user root; worker_processes 2; pid /tmp/ng/pid; error_log /tmp/ng/error; events { worker_connections 512; }
http { access_log off; sendfile on; client_body_temp_path /tmp/ng/b; proxy_temp_path /tmp/ng/p; fastcgi_temp_path /tmp/ng/f;
  uwsgi_temp_path /tmp/ng/u; scgi_temp_path /tmp/ng/s; keepalive_requests 1000000;
  upstream back { server 127.0.0.1:8080; keepalive 16; }
  server { listen 80; listen [::]:80; location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; } }
  server { listen 127.0.0.1:8080; root /tmp/www; } }
END
exec nginx -c /tmp/ng/conf -e /tmp/ng/error -g 'daemon off;'
"""
NODE = """
require('http').createServer((request, response) => {
  let size = 0
  request.on('data', piece => size += piece.length)
  request.on('end', () => response.end('node ' + request.method + ' ' + size))
}).listen(8000)
"""
JAVA = """
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Server {
  public static void main(String[] args) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress(8000), 50);
    server.setExecutor(java.util.concurrent.Executors.newFixedThreadPool(4));
    server.createContext("/", exchange -> {
      int size = exchange.getRequestBody().readAllBytes().length;
      byte[] text = ("java " + exchange.getRequestMethod() + " " + size).getBytes();
      exchange.sendResponseHeaders(200, text.length);
      exchange.getResponseBody().write(text);
      exchange.close();
    });
    server.start();
  }
}
"""
GO = """
package main
import ("fmt"; "io"; "net/http")
func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "go %s %d", r.Method, n)
	})
	http.ListenAndServe(":8000", nil)
}
"""
SERVERS = {
    "node": ("server.js", NODE, "exec node /shared/server.js"),
    "java": ("Server.java", JAVA, "exec java /shared/Server.java"),
    "go": ("server.go", GO, "exec /shared/server"),
}
CLIENTS = """
head -c 1000000 /dev/zero >/tmp/data
curl -s http://10.77.0.2:8000/x; echo
curl -s --data-binary @/tmp/data 'http://[fd77::2]:8000/'; echo
seq 60 | xargs -P 12 -I{} curl -s -o /dev/null -w '%{http_code}\\n' http://10.77.0.2:8000/ | sort | uniq -c
"""


@pytest.fixture
def shared(tmp_path):
    path = tmp_path / "shared"
    path.mkdir()
    return path


@pytest.fixture
def keys(wire, shared):
    output(wire.program(shared, "ssh-keygen -q -t ed25519 -N '' -f /shared/key"))
    return shared


def check_ssh(text):
    assert re.fullmatch(r"user root\nexit 3\n/dev/pts/\d+\n0 0\nsame\npiped\n", text), text


@pytest.mark.parametrize("host", ["10.77.0.2", "fd77::2"])
def test_ssh_from_outside(container, wire, keys, host):
    container("bash", "-c", SSHD, root="debian-net", mounts=[("/shared", keys)])
    wait_for_port(wire, "10.77.0.2", 2222)
    check_ssh(output(wire.program(keys, SSH.replace("HOST:", f"[{host}]:" if ":" in host else "HOST:").replace("HOST", host)), 60))


def test_ssh_to_the_outside(container, wire, keys):
    server = wire.program(keys, SSHD)
    try:
        check_ssh(output(container("bash", "-c", SSH.replace("HOST", "10.77.0.1"), root="debian-net", mounts=[("/shared", keys)]), 60))
    finally:
        server.kill()
        server.communicate()


def test_nginx_as_a_proxy_driven_by_wrk(container, wire, shared):
    container("bash", "-c", NGINX, root="debian-net")
    wait_for_port(wire, "10.77.0.2", 80)
    text = output(wire.program(shared, """
        for host in 10.77.0.2 '[fd77::2]'; do curl -s http://$host/numbers | sha256sum | cut -c 1-20; done; seq 200000 | sha256sum | cut -c 1-20
        wrk -t 2 -c 100 -d 3 http://10.77.0.2/
    """), 60)  # fmt: skip
    assert len(set(text.split("\n")[:3])) == 1, text
    assert int(re.search(r"(\d+) requests in", text)[1]) > 100, text
    assert "Socket errors" not in text and "Non-2xx" not in text, text


@pytest.mark.parametrize("language", SERVERS)
def test_http_servers(container, wire, shared, language):
    name, source, command = SERVERS[language]
    (shared / name).write_text(source)
    if language == "go":
        output(wire.program(shared, "cd /tmp && GOCACHE=/tmp/cache CGO_ENABLED=0 go build -o /shared/server /shared/server.go", root="debian-full"), 300)
    container("bash", "-c", command, mounts=[("/shared", shared)])
    wait_for_port(wire, "10.77.0.2", 8000, 60)
    text = output(wire.program(shared, CLIENTS), 60)
    assert text.split("\n")[:2] == [f"{language} GET 0", f"{language} POST 1000000"], text
    assert text.split()[-2:] == ["60", "200"], text


def test_postgresql_from_outside(container, wire, shared):
    container("bash", "-c", """
        export PATH=$PATH:/usr/lib/postgresql/15/bin
        mkdir /tmp/pg; chown postgres /tmp/pg
        su postgres -c "PATH=$PATH initdb -D /tmp/pg/data -A trust --no-sync >/dev/null; echo 'host all all 10.77.0.0/24 trust' >>/tmp/pg/data/pg_hba.conf
            PATH=$PATH exec postgres -D /tmp/pg/data -h 10.77.0.2 -k /tmp/pg -c fsync=off"
    """, root="debian-net")  # fmt: skip
    wait_for_port(wire, "10.77.0.2", 5432, 60)
    text = output(wire.program(shared, """
        export PATH=$PATH:/usr/lib/postgresql/15/bin
        pgbench -q -i -s 1 -h 10.77.0.2 -U postgres postgres 2>&1 | tail -1
        pgbench -n -c 8 -j 2 -t 40 -h 10.77.0.2 -U postgres postgres | grep processed
        psql -X -A -t -h 10.77.0.2 -U postgres -c 'select count(*) from pgbench_history'
    """), 90)  # fmt: skip
    assert text.endswith("processed: 320/320\n320\n"), text


def test_what_iproute2_and_ping_show(container, wire):
    text = output(container("bash", "-c", """
        ip -br addr | tr -s ' '; ip route; nc -l 10.77.0.2 6000 & sleep 0.5; ss -Htlnp | tr -s ' '; kill %1
        ping -c 2 -i 0.2 10.77.0.1 | grep -o '2 received'; ping -6 -c 1 fd77::1 | grep -o '1 received'; ping -c 1 -s 20000 10.77.0.1 | grep -o '1 received'
        ping -c 1 -W 2 10.77.0.99 | grep -o '0 received'
    """, root="debian-net"))  # fmt: skip
    assert "va UP 10.77.0.2/24 fd77::2/64" in text
    assert "default via 10.77.0.1 dev va" in text and "10.77.0.0/24 dev va" in text
    assert re.search(r'LISTEN 0 1 10\.77\.0\.2:6000 0\.0\.0\.0:\* users:\(\("nc",pid=\d+,fd=3\)\)', text)
    assert re.findall(r"\d received", text) == ["2 received", "1 received", "1 received", "0 received"], text


DNSMASQ = """
printf '192.0.2.7 www.example.test\\n' >/tmp/hosts
exec dnsmasq --no-daemon --no-resolv --no-hosts --addn-hosts=/tmp/hosts --user=root --bind-interfaces --listen-address=ADDRESS \\
    --txt-record=txt.example.test,"$(seq -s ' ' 80)" --local=/test/
"""


def test_dig_at_a_server_outside(container, wire, shared):
    server = wire.program(shared, DNSMASQ.replace("ADDRESS", "10.77.0.1"))
    try:
        wait_for_port(wire, "10.77.0.1", 53)
        (shared / "resolv.conf").write_text("nameserver 10.77.0.1\n")
        text = output(container("bash", "-c", """
            dig +short www.example.test; dig +tcp +short www.example.test; dig none.example.test | grep -o NXDOMAIN; getent hosts www.example.test
        """, root="debian-net", mounts=[("/etc/resolv.conf", shared / "resolv.conf")]))  # fmt: skip
        assert text.split() == ["192.0.2.7", "192.0.2.7", "NXDOMAIN", "192.0.2.7", "www.example.test"]
    finally:
        server.kill()
        server.communicate()


def test_dockers_name_server(container, wire, shared):
    """A server on the loopback interface of the container's namespace; what it cannot answer is asked elsewhere."""
    inside = wire.program(shared, DNSMASQ.replace("ADDRESS", "127.0.0.11"), where=wire.a)
    outside = wire.program(shared, DNSMASQ.replace("ADDRESS", "10.77.0.1").replace("example.test", "elsewhere.net").replace("0.2.7", "0.2.8"))
    try:
        wait_for_port(wire, "10.77.0.1", 53)
        (shared / "resolv.conf").write_text("nameserver 127.0.0.11\n# ExtServers: [10.77.0.1]\n")
        text = output(container("bash", "-c", """
            getent hosts www.example.test; dig +short www.example.test; dig +tcp +short www.example.test; dig none.test | grep -o NXDOMAIN
            dig +short txt.example.test TXT | wc -c
            seq 60 | xargs -P 20 -I{} dig +short +tries=5 +time=2 www.example.test | sort | uniq -c
            dnsmasq --no-daemon --no-resolv --no-hosts --user=root --addn-hosts=/dev/null --address=/own.test/192.0.2.9 >/dev/null 2>&1 & sleep 0.5
            dig +short @127.0.0.1 own.test
            dig +short www.elsewhere.net
        """, root="debian-net", mounts=[("/etc/resolv.conf", shared / "resolv.conf")]), 60)  # fmt: skip
        assert text.split() == ["192.0.2.7", "www.example.test", "192.0.2.7", "192.0.2.7", "NXDOMAIN", "233", "60", "192.0.2.7", "192.0.2.9", "192.0.2.8"]
    finally:
        for server in (inside, outside):
            server.kill()
            server.communicate()


def test_many_requests_of_pythons_server(container, wire, shared):
    container("python3", "-m", "http.server", "-d", "/tests", "8000")
    wait_for_port(wire, "10.77.0.2", 8000)
    text = output(wire.program(shared, "seq 50 | xargs -P 10 -I{} curl -s http://10.77.0.2:8000/peer.py | sha256sum | wc -l; curl -s http://10.77.0.2:8000/peer.py | wc -c"))
    with open(__file__.replace("test_network_programs", "peer"), "rb") as file:
        assert int(text.split()[1]) == len(file.read())
