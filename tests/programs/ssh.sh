# root: net
# timeout: 60
# OpenSSH's server and client over the loopback: commands, terminals, scp, sftp, forwarding, another user.
cd /tmp
export LC_ALL=C
ip link set lo up 2>/dev/null
mkdir -p /run/sshd ~/.ssh
touch ~/.hushlogin
ssh-keygen -q -t ed25519 -N '' -f key
cp key.pub ~/.ssh/authorized_keys
chmod -R go= ~/.ssh
useradd -m guest -s /bin/bash
mkdir -p ~guest/.ssh
touch ~guest/.hushlogin
cp key.pub ~guest/.ssh/authorized_keys
chown -R guest ~guest
cat >client <<'END'
Host *
  Port 2222
  IdentityFile /tmp/key
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
END
/usr/sbin/sshd -p 2222 -E /tmp/sshd.log
for i in $(seq 100); do nc -z 127.0.0.1 2222 && break; sleep 0.05; done
ssh="ssh -F client"

echo "== commands"
$ssh localhost 'echo out; echo err >&2; id -un; exit 3' 2>&1; echo "exit $?"
echo "some input" | $ssh localhost 'cat; tty'; echo "exit $?"
$ssh guest@localhost 'id -un; pwd; cat /proc/self/loginuid; echo' | sed 's/^[0-9]*$/uid/'
head -c 3000000 /dev/urandom >data
sum=$(sha256sum <data)
[ "$($ssh localhost sha256sum <data)" = "$sum" ] && echo same
[ "$($ssh localhost cat /tmp/data | sha256sum)" = "$sum" ] && echo same
[ "$($ssh -c aes128-ctr -m hmac-sha2-256 ::1 cat /tmp/data | sha256sum)" = "$sum" ] && echo same

echo "== terminal"
$ssh -tt localhost 'tty | sed s/[0-9]*$//; stty -a | grep -c speed; stty size; [ -t 0 ] && [ -t 1 ] && echo terminal' </dev/null | tr -d '\r'
python3 - <<'END'
import fcntl, os, pty, re, select, struct, termios, time
pid, fd = pty.fork()
if not pid:
    os.execvp("ssh", ["ssh", "-F", "client", "-tt", "localhost", "PS1='> ' bash --norc -i"])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", 33, 99, 0, 0))
seen = b""
def expect(pattern):
    global seen
    while not (found := re.search(pattern, seen)):
        if not select.select([fd], [], [], 15)[0]:
            raise SystemExit(f"no {pattern!r} in {seen!r}")
        try:
            seen += os.read(fd, 4096)
        except OSError:
            seen += b"<end>"
    seen = seen[found.end():]
    return found[0]
expect(b"> ")
os.write(fd, b"stty size\r")
print(expect(rb"\d+ \d+"))
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", 44, 111, 0, 0))
os.kill(pid, 28)
os.write(fd, b"sleep 0.3; stty size\r")
print(expect(rb"\d+ \d+"))
os.write(fd, b"echo ready; cat\r")
expect(b"\nready")
time.sleep(0.3)
os.write(fd, b"word\r")
print(expect(rb"word\r\nword"))
os.write(fd, b"\x03")
expect(b"> ")
os.write(fd, b"echo $?.\r")
print(expect(rb"\d+\."))
os.write(fd, b"exit 7\r")
expect(b"<end>")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END

echo "== copies"
scp -q -F client data localhost:/tmp/copy && cmp data copy && echo scp
scp -q -O -F client data guest@localhost:legacy && cmp data ~guest/legacy && echo scp -O
mkdir -p tree/a/b && seq 1000 >tree/a/b/numbers 
scp -q -r -F client tree localhost:/tmp/treecopy && find treecopy | sort
printf 'cd /tmp/tree/a/b\nls -1\nget numbers /tmp/numbers\nput /tmp/key.pub\nrename key.pub other\nls -1\nrm other\n' >batch
sftp -q -b batch -F client localhost 2>&1
cmp numbers tree/a/b/numbers && echo sftp

echo "== forwarding"
python3 -m http.server -d /tmp/tree/a/b --bind 127.0.0.1 8000 >/dev/null 2>&1 & web=$!
$ssh -f -N -M -S /tmp/control -L 8001:127.0.0.1:8000 -R 8002:127.0.0.1:8000 -D 8003 localhost
for i in $(seq 100); do nc -z 127.0.0.1 8000 && nc -z 127.0.0.1 8001 && break; sleep 0.05; done
for way in http://127.0.0.1:8001 http://127.0.0.1:8002 "--socks5 127.0.0.1:8003 http://127.0.0.1:8000"; do
    curl -s $way/numbers | sha256sum
done
ssh -S /tmp/control -O exit localhost 2>&1
kill $web

echo "== refused"
ssh-keygen -q -t ed25519 -N '' -f wrong
$ssh -i wrong -o IdentityFile=wrong -o IdentitiesOnly=yes -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes -p 2222 localhost true 2>&1 | sed 's/ (.*//'
$ssh -p 2223 localhost true 2>&1
for i in 1 2 3 4 5 6; do $ssh localhost "sleep 0.3; echo $i" >many.$i & done; wait; cat many.*
kill "$(cat /run/sshd.pid)"
