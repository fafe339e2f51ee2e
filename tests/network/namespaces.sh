# Network namespaces inside: run natively and in the sandbox by test_namespaces.py, which compares the lines. Hardware addresses,
# times and what only this kernel or only that one tells of are left out.
exec 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /run/netns
ip link set lo up
pinged() { grep -o "[0-9]* packets transmitted, [0-9]* received\|^From.*\|Unreachable"; }
names() { awk '{sub(/@if.*/, "@if"); print $1}' | sort; }

echo "# names"
ip netns add one && ip netns add two && ip netns list | sort
ip netns exec one sh -c 'readlink /proc/self/ns/net' | grep -c "$(stat -L -c %i /run/netns/one)"
ip netns add one 2>/dev/null || echo exists

echo "# a pair"
ip link add va netns one type veth peer name vb netns two
ip -n one addr add 10.1.0.1/24 dev va && ip -n two addr add 10.1.0.2/24 brd + dev vb
ip -n one addr add fd01::1/64 dev va nodad && ip -n two addr add fd01::2/64 dev vb nodad
ip -n one link set va up
ip -n one -br link show va | grep -o "<.*>"
ip -n two link set vb up
ip -n one link show va | grep -v ether | sed 's/^[0-9]*: //'
ip -n one -4 addr show va; ip -n two -4 addr show vb
ip -n one route; ip -n one route show table local; ip -n one -6 route show fd01::/64
ip -n one route get 10.1.0.2; ip -n one route get 10.9.0.2
ip netns exec one ping -c 2 -i 0.2 10.1.0.2 | pinged
ip netns exec two ping -c 1 fd01::1 | pinged
ip netns exec one ping -c 1 -W 1 10.1.0.9 | grep -o "0 received"

echo "# connections"
cat >/tmp/server.py <<'PY'
import socket, sys
for host in ("10.1.0.2", "fd01::2"):
    server = socket.create_server((host, 5000), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    udp = socket.socket(server.family, socket.SOCK_DGRAM)
    udp.bind((host, 5000))
    print("ready", flush=True)
    conn, peer = server.accept()
    count = 0
    while data := conn.recv(65536):
        count += len(data)
    conn.sendall(b"%d" % count)
    data, peer2 = udp.recvfrom(100)
    udp.sendto(data[::-1], peer2)
    print(peer[0], peer2[0], count, conn.getsockname()[:2], flush=True)
    conn.close(), server.close()
PY
cat >/tmp/client.py <<'PY'
import socket
for host in ("10.1.0.2", "fd01::2"):
    while True:
        try:
            conn = socket.create_connection((host, 5000))
            break
        except ConnectionRefusedError:
            pass
    conn.sendall(bytes(3000000))
    conn.shutdown(socket.SHUT_WR)
    print(conn.recv(100), conn.getsockname()[0], conn.getpeername()[:2], conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) < 1500)
    udp = socket.socket(conn.family, socket.SOCK_DGRAM)
    udp.connect((host, 5000))
    udp.send(b"drow")
    print(udp.recv(100), udp.getsockname()[0], udp.getsockopt(0, 14) if conn.family == 2 else 1500)
    for call in (lambda: (udp.connect((host, 9)), udp.send(b"x"), udp.recv(1)), lambda: socket.create_connection((host, 9))):
        try:
            call()
        except OSError as error:
            print(error)
for host in ("10.9.0.2", "127.0.0.1"):
    try:
        socket.create_connection((host, 5000))
    except OSError as error:
        print(error)
PY
ip netns exec two python3 /tmp/server.py >/tmp/said &
ip netns exec one python3 /tmp/client.py
wait
cat /tmp/said

echo "# a bridge"
ip netns add sw; ip netns add three
ip -n sw link add br0 type bridge && ip -n sw link set br0 up
for n in one three; do
    ip link add e-$n type veth peer name p-$n
    ip link set e-$n netns $n; ip link set p-$n netns sw
    ip -n sw link set p-$n master br0; ip -n sw link set p-$n up; ip -n $n link set e-$n up
done
ip -n one addr add 10.2.0.1/24 dev e-one; ip -n three addr add 10.2.0.3/24 dev e-three; ip -n sw addr add 10.2.0.254/24 dev br0
ip -n sw -br link show master br0 | names; ip -n sw -br link show type bridge | names
ip netns exec one ping -c 1 10.2.0.3 | pinged; ip netns exec three ping -c 1 10.2.0.254 | pinged
ip -n sw link set p-three nomaster
ip netns exec one ping -c 1 -W 1 10.2.0.3 | grep -o "0 received"
ip -n sw link set p-three master br0
ip netns exec one ping -c 1 10.2.0.3 | pinged
ip -n three link set e-three down
ip -n three route
ip -n three link set e-three up

echo "# a router"
ip -n one route add 10.3.0.0/16 via 10.1.0.2
ip link add w1 netns two type veth peer name w2 netns three
ip -n two addr add 10.3.0.1/24 dev w1; ip -n three addr add 10.3.0.2/24 dev w2
ip -n two link set w1 up; ip -n three link set w2 up; ip -n three route add 10.1.0.0/24 via 10.3.0.1
ip netns exec two sysctl -qw net.ipv4.ip_forward=0
ip netns exec one ping -c 1 -W 1 10.3.0.2 | grep -o "0 received"
ip netns exec two sysctl -qw net.ipv4.ip_forward=1
ip netns exec one ping -c 1 10.3.0.2 | grep -o "ttl=.."
ip netns exec one ping -c 1 -t 1 10.3.0.2 | pinged
ip netns exec one ping -c 1 10.3.9.2 | pinged
ip -n one route del 10.3.0.0/16; ip -n one route add 10.3.0.0/16 via 10.7.0.1 2>/dev/null || echo no; ip -n one route | sort

echo "# changes"
ip link add type veth; ip -br link show type veth | names
ip link set veth0 name foo mtu 1400 alias hello; ip -o link show foo | grep -o "foo@veth1.*mtu 1400\|alias hello"
ip link set foo address 02:00:00:00:00:07; cat /sys/class/net/foo/address 2>/dev/null || ip -o link show foo | grep -o 02:00:00:00:00:07
ip link set foo netns one name bar; ip -n one -br link show bar | names
ip link set veth1 netns $$ && ip link del veth1; ip -n one link show bar 2>&1 | sed 's/.*does/does/'
ip link add lo type veth 2>&1; ip link del lo 2>&1; ip link set lo netns one 2>&1 | grep -c .
ip link add x type veth peer name x 2>&1

echo "# the end"
ip netns del three
for i in $(seq 100); do ip -n sw link show p-three >/dev/null 2>&1 || break; sleep 0.1; done # the end of a namespace takes its time
ip -n sw -br link | names; ip -n two -br link | names
ip -n one link del va; ip -n two -br link | names
ip netns del one; ip netns del two; ip netns del sw
ls /run/netns | wc -l
