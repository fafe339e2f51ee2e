# root: net
# timeout: 120
# Servers and clients over the loopback: DNS, TLS, HTTP, git, PostgreSQL, asyncio, what iproute2 shows.
cd /tmp
export LC_ALL=C
ip link set lo up 2>/dev/null
await() { for i in $(seq 200); do nc -z 127.0.0.1 "$1" && return; sleep 0.05; done; echo "no port $1"; }

echo "== iproute2"
ip -br addr show lo | tr -s ' '
ip -6 route get ::1 | grep -o 'dev lo'
ip route get 127.0.0.1 | grep -o 'local 127.0.0.1 dev lo src 127.0.0.1'
nc -l 127.0.0.1 6000 >/dev/null & holder=$!
nc -l -U /tmp/held >/dev/null & holder2=$!
await_ss() { for i in $(seq 200); do ss -Htln "sport = :6000" | grep -q . && return; sleep 0.05; done; }
await_ss
ss -Htlnp 'sport = :6000' | tr -s ' ' | sed 's/pid=[0-9]*/pid=N/'
ss -Hxl src /tmp/held | tr -s ' ' | cut -d ' ' -f 1-5
kill $holder $holder2

echo "== dns"
printf '192.0.2.7 www.example.test\n2001:db8::7 www.example.test\n' >dns.hosts
dnsmasq --no-daemon --no-resolv --no-hosts --addn-hosts=/tmp/dns.hosts --port=5353 --listen-address=127.0.0.1 --bind-interfaces \
    --user=root --txt-record=txt.example.test,"$(seq -s ' ' 80)" --cname=alias.example.test,www.example.test --local=/test/ >dnsmasq.log 2>&1 & dns=$!
await 5353
for question in "www.example.test A" "www.example.test AAAA" "alias.example.test A" "txt.example.test TXT" "-x 192.0.2.7" "none.example.test A"; do
    dig @127.0.0.1 -p 5353 +short $question
    dig @127.0.0.1 -p 5353 +tcp $question | grep -o 'status: [A-Z]*'
done
kill $dns

echo "== http"
mkdir -p www/sub
seq 100000 >www/numbers
echo hello >www/index.html
python3 -m http.server -d www --bind 127.0.0.1 8000 >/dev/null 2>&1 & web=$!
await 8000
curl -s http://127.0.0.1:8000/numbers | sha256sum
curl -s -r 100-199 http://localhost:8000/ | head -c 5
curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8000/none
wget -q -O- http://127.0.0.1:8000/numbers | sha256sum
seq 40 | xargs -P 8 -I{} curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8000/numbers | sort | uniq -c
kill $web

echo "== tls"
openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
mkdir -p ng
cat >ng/conf <<'END'
user root; worker_processes 2; pid /tmp/ng/pid; error_log /tmp/ng/error; events { worker_connections 256; }
http { access_log off; sendfile on; client_body_temp_path /tmp/ng/b; proxy_temp_path /tmp/ng/p; fastcgi_temp_path /tmp/ng/f;
  uwsgi_temp_path /tmp/ng/u; scgi_temp_path /tmp/ng/s;
  server { listen 127.0.0.1:8443 ssl http2; ssl_certificate /tmp/tls.crt; ssl_certificate_key /tmp/tls.key;
    location / { proxy_pass http://127.0.0.1:8080; } }
  server { listen 127.0.0.1:8080; listen [::1]:8080; root /tmp/www; } }
END
nginx -c /tmp/ng/conf -e /tmp/ng/error -g 'daemon off;' & server=$!
await 8443
curl -s --cacert tls.crt https://localhost:8443/numbers | sha256sum
curl -s --http2 --cacert tls.crt -w '%{http_version} %{http_code}\n' https://localhost:8443/
curl -s https://localhost:8443/; echo "untrusted: $?"
wget -q --ca-certificate=tls.crt -O- https://localhost:8443/numbers | sha256sum
curl -s 'http://[::1]:8080/'
head -c 2000000 /dev/zero | openssl s_client -quiet -connect localhost:8443 >/dev/null 2>&1; echo "s_client $?"
wrk -t 2 -c 40 -d 1 http://127.0.0.1:8080/ | grep -c 'requests in'
wrk -t 2 -c 40 -d 1 http://127.0.0.1:8080/ | grep -E 'Non-2xx|Socket errors'
kill -QUIT $server; wait $server

echo "== git"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE=1700000000+0000 GIT_COMMITTER_DATE=1700000000+0000
git init -q -b main repo
for i in 1 2 3 4 5; do seq $((i * 3000)) >repo/file$i; git -C repo add .; git -C repo commit -q -m "change $i"; done
touch repo/.git/git-daemon-export-ok
git daemon --reuseaddr --base-path=/tmp --listen=127.0.0.1 --port=9418 --enable=receive-pack & daemon=$!
await 9418
git clone -q git://127.0.0.1/repo clone 2>&1
git -C clone log --format='%H %s'
git -C clone fsck 2>/dev/null; git clone -q --depth 1 git://localhost/repo shallow && git -C shallow rev-list --count HEAD
git -C clone checkout -q -b other && echo x >clone/x && git -C clone add x && git -C clone commit -q -m x && git -C clone push -q origin other 2>/dev/null
git -C repo rev-parse other
kill $daemon

echo "== postgresql"
export PATH=$PATH:/usr/lib/postgresql/15/bin
mkdir pg && chown postgres pg
pg() { su postgres -c "PATH=$PATH $*"; }
pg initdb -D /tmp/pg/data -A trust --no-sync >pg.log 2>&1; echo "initdb $?"
pg "pg_ctl -s -w -D /tmp/pg/data -l /tmp/pg/log -o '-h 127.0.0.1 -k /tmp/pg -c fsync=off' start" >/dev/null 2>&1; echo "start $?"
psql="psql -X -q -A -t -h 127.0.0.1 -U postgres"
$psql -c "create table t (n int primary key, s text); insert into t select n, repeat(n::text, 10) from generate_series(1, 5000) n"
$psql -c "select count(*), sum(length(s)), md5(string_agg(s, ',' order by n)) from t"
$psql -h /tmp/pg -c "select 6 * 7"
pgbench -q -i -s 1 -h 127.0.0.1 -U postgres postgres >/dev/null 2>&1; echo "pgbench -i $?"
pgbench -n -c 8 -j 2 -t 50 -h 127.0.0.1 -U postgres postgres 2>&1 | grep -E 'processed|failed transactions'
$psql -c "select sum(abalance) = sum(delta), (select count(*) from pgbench_history) from pgbench_accounts, (select sum(delta) as delta from pgbench_history) h group by delta" | wc -l
pg "pg_ctl -s -m fast -D /tmp/pg/data stop" && echo stopped

echo "== asyncio"
python3 - <<'END'
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
async def main():
    async def handle(reader, writer):
        while data := await reader.readline():
            writer.write(data)
            await writer.drain()
        writer.close()
    async def client(i):
        reader, writer = await asyncio.open_connection("127.0.0.1", 7000)
        total = 0
        for k in range(3):
            writer.write(b"%d\n" % (i + k))
            total += int(await reader.readline())
            await asyncio.sleep(0)
        await all_there.wait() if i else all_there.set()
        writer.close()
        return total
    all_there = asyncio.Event()
    async with await asyncio.start_server(handle, "127.0.0.1", 7000, backlog=1000):
        print(sum(await asyncio.gather(*(client(i) for i in reversed(range(1000))))))
asyncio.run(main())
END
