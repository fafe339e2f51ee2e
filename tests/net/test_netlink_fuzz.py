"""Netlink requests of every shape: each gets answers or an errno, never an exception, and the namespace stays sound."""

import random
import struct

import pytest

from sentry.abi.netlink import HEADER, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST
from sentry.core.creds import ALL_CAPS, Creds
from sentry.core.waitq import WaitQueue
from sentry.net import fabric, hostinet, netlink, netns, rtnetlink, sockdiag  # noqa: F401  (they register themselves)

KINDS = [*range(16, 36), 20, 20, 60, 79, 123, 124, 0xFFFF]
FLAGS = [0, NLM_F_DUMP, NLM_F_ACK, NLM_F_DUMP | NLM_F_ACK, 0x600, 0x500, 0xFFFF]


class Kernel:
    tasks = {}
    platform = None

    @staticmethod
    def all_tasks():
        return []


class Group:
    pid = 42


class Caller:
    """As much of a task as a socket asks for."""

    def __init__(self, net):
        self.kernel, self.tg, self.net = Kernel, Group, net
        self.creds = Creds(0, 0)
        self.creds.effective = ALL_CAPS
        self.fs = None


@pytest.fixture
def caller():
    netns.FINDERS[:] = lambda t, fd: -9, lambda t, pid: t.net if pid == 1 else -3
    return Caller(netns.new())


def link_info(rng):
    """IFLA_LINKINFO of a link that can be made, with or without what is told of its other end."""
    kind = rng.choice([b"veth\0", b"bridge", b"dummy", b"vlan"])
    peer = struct.pack("<BxHiII", 0, 0, rng.choice([0, 3, -1]), rng.choice([0, 1]), 1) + attributes(rng, 1)
    data = struct.pack("<HH", 4 + len(peer), 1) + peer
    body = struct.pack("<HH", 4 + len(kind), 1) + kind + bytes(-len(kind) % 4) + struct.pack("<HH", 4 + len(data), 2) + data
    return struct.pack("<HH", 4 + len(body), 18) + body + bytes(-len(body) % 4)


def attributes(rng, depth=0):
    parts = [link_info(rng)] if not depth and rng.random() < 0.3 else []
    for _ in range(rng.randrange(6)):
        body = rng.choice([b"lo\0", b"veth0\0", bytes(4), bytes(16), b"\x7f\0\0\1", b"\1\0\0\0", rng.randbytes(rng.randrange(40))])
        length = rng.choice([4 + len(body)] * 8 + [0, 3, 0xFFFF, 5 + len(body)])
        parts.append(struct.pack("<HH", length, rng.choice([*range(1, 20), 0x8001, 0xFFFF])) + body + bytes(-len(body) % 4))
    return b"".join(parts)


def new_link(rng):
    """A request that may well make a link."""
    body = struct.pack("<BxHiII", 0, 0, 0, rng.choice([0, 1]), rng.choice([0, 1])) + link_info(rng)
    if rng.random() < 0.5:
        name = b"n%d\0" % rng.randrange(20)
        body += struct.pack("<HH", 4 + len(name), 3) + name + bytes(-len(name) % 4)
    return HEADER.pack(HEADER.size + len(body), 16, NLM_F_REQUEST | 0x400, 1, 0) + body


def request(rng):
    if rng.random() < 0.1:
        return new_link(rng)
    head = rng.choice([
        struct.pack("<BxHiII", 0, 1, rng.choice([0, 1, 2, -1, 2**31 - 1]), rng.choice([0, 1, 2**32 - 1]), rng.choice([0, 1, 2**32 - 1])),
        struct.pack("<BBBBI", rng.choice([0, 2, 10, 255]), rng.choice([0, 8, 24, 32, 64, 128, 255]), 0, 0, rng.choice([0, 1, 99])),
        struct.pack("<BBBBBBBBI", rng.choice([0, 2, 10]), rng.choice([0, 8, 16, 32, 128, 255]), 0, 0, rng.choice([0, 254, 255]), 3, 0, 1, 0),
        struct.pack("<BBBxI48x", rng.choice([2, 10, 1, 16]), rng.choice([6, 17, 255, 0]), 0, 0xFFFFFFFF),
        rng.randbytes(rng.randrange(64)),
    ])  # fmt: skip
    body = head[: rng.choice([len(head)] * 6 + [0, 1, 3, 7])] + attributes(rng)
    length = rng.choice([HEADER.size + len(body)] * 12 + [0, 15, 16, 17, 0xFFFFFFFF])
    return HEADER.pack(length, rng.choice(KINDS), NLM_F_REQUEST | rng.choice(FLAGS), rng.randrange(2**32), 0) + body


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("protocol", [0, 4, 15])
def test_any_request_is_answered(caller, protocol, seed):
    rng = random.Random(seed * 100 + protocol)
    sock = netlink.create(caller, 3, protocol, 0)
    assert isinstance(sock.queue, WaitQueue)
    for _ in range(1500):
        data = b"".join(request(rng) for _ in range(rng.choice([1, 1, 1, 3])))
        assert sock.send(caller, data, None, 0, None, None) == len(data)
        while not isinstance(sock.receive(caller, 65536, 0), int):
            pass
        assert sock.held == 0
    stack = caller.net.stack
    assert [link.index for link in stack.interfaces if not link.kind] == [1]
    assert stack.linked == len(stack.interfaces) - 1
    if protocol == 0:
        assert stack.linked  # else nothing was tried
    fabric.destroy_all(stack)
    assert len(stack.interfaces) == 1 and not stack.linked
    assert all(len(addr) in (4, 16) and 0 <= bits <= 8 * len(addr) for addr, bits in stack.interfaces[0].addresses)
    assert all(0 <= route.bits <= 8 * len(route.network) for route in stack.routes)
    sock.decref()
    assert not caller.net.netlinks


def test_what_nobody_reads_is_bounded(caller):
    sock = netlink.create(caller, 3, 0, 0)
    dump = HEADER.pack(HEADER.size + 16, 18, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + bytes(16)
    for _ in range(5000):
        sock.send(caller, dump, None, 0, None, None)
    assert sock.held <= sock.rcvbuf + 65536
    assert sock.receive(caller, 65536, 0) == -105  # ENOBUFS
    assert sock.receive(caller, 65536, 0).data
    sock.decref()


@pytest.mark.parametrize("seed", range(4))
def test_control_data_for_the_host_is_made_anew(seed):
    """Only what is listed goes along, in well-formed messages."""
    rng = random.Random(seed)
    for _ in range(2000):
        rows = [
            (rng.choice([0, 1, 6, 17, 41, 255, -1 & 0xFFFFFFFF]), rng.choice([1, 2, 8, 50, 52, 67, 103, 999]), rng.randbytes(rng.randrange(30)))
            for _ in range(rng.randrange(5))
        ]
        made = hostinet.sendable(rows)
        if isinstance(made, int):
            assert made == -22
            continue
        found = hostinet.parse_control(made or b"")
        assert found == [row for row in rows if row[:2] in hostinet.SENT_CONTROL]


@pytest.mark.parametrize("seed", range(4))
def test_control_data_of_any_shape_is_parsed(seed):
    rng = random.Random(seed)
    for _ in range(3000):
        for _level, _kind, body in hostinet.parse_control(rng.randbytes(rng.randrange(100))):
            assert len(body) < 100
