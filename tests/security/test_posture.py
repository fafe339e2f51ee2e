"""What a live sandbox holds on the host, compared with an exact expectation: ids, capabilities, namespaces, root,
descriptors, seccomp state, limits, of the Sentry, the gofer and every guest process."""

import json
import os
import re
import time

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks at processes of another user: needs root")

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID = (1 << number for number in range(5))
GOFER_CAPS = CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID
OWN_NAMESPACES = {"user", "pid", "mnt", "net", "ipc", "uts"}

# What a descriptor may be, by the target of its link in /proc.
SENTRY_FDS = (
    r"/dev/null",
    r"/null",
    r"socket:\[\d+\]",  # the gofer's connection, the control socket, ptrace: carrier of descriptors
    r"anon_inode:\[?(eventpoll|eventfd|pidfd|seccomp notify|signalfd|timerfd)\]?",
    r"/memfd:stockade-\w+ \(deleted\)",
    r"/proc/meminfo",
    r".*/exit",  # the file for the exit code
    r"/bin/busybox",  # donated by the gofer: the program, for mapping
    r".*/output",  # the program's standard output
)
GOFER_FDS = (r"/null", r"/dev/null", r"socket:\[\d+\]", r"/", r"/proc", r"/dev.*", r"/bin.*", r"/sys", r"/usr.*", r"/sbin.*", r"/run", r"/etc.*", r"/lib.*")
GUEST_FDS = (r"anon_inode:\[?eventfd\]?", r"/memfd:stockade-\w+ \(deleted\)", r"/bin/busybox", r"socket:\[\d+\]")


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", file.read(), re.M))


def links(pid):
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def namespaces(pid):
    """The kinds of namespace in which `pid` is not with us."""
    kinds = {kind for kind in os.listdir(f"/proc/{pid}/ns") if not kind.endswith("_for_children")}
    return {kind for kind in kinds if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")}


def children(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(name))
    return found


def limit(pid, name):
    with open(f"/proc/{pid}/limits") as file:
        for line in file:
            if line.startswith(name):
                return line[26:].split()[:2]
    return None


class Live:
    def __init__(self, state, cid):
        with open(os.path.join(state, cid, "state.json")) as file:
            processes = json.load(file)["stockade"]["processes"]
        self.sentry, self.gofer = processes["sentry"][0], processes["gofer"][0]
        self.guests = children(self.sentry)


@pytest.fixture(scope="module")
def live(stockade, busybox_root, tmp_path_factory):
    bundle = tmp_path_factory.mktemp("posture")
    (bundle / "rootfs").symlink_to(busybox_root)
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    }
    (bundle / "config.json").write_text(json.dumps(config))
    state = stockade.base[2]
    cid = f"posture-{os.getpid()}"
    with open(bundle / "output", "wb") as output, open("/dev/null") as null:
        process = stockade.popen("run", "--detach", "--bundle", bundle, cid, stdin=null, stdout=output, stderr=output)
        assert process.wait(60) == 0
    time.sleep(0.5)  # let it settle in its sleep
    yield Live(state, cid)
    assert stockade("delete", "--force", cid).returncode == 0


def everyone(live):
    return [("sentry", live.sentry), ("gofer", live.gofer)] + [("guest", pid) for pid in live.guests]


def test_there_are_guests_to_look_at(live):
    assert len(live.guests) >= 1


def test_capabilities(live):
    for role, pid in everyone(live):
        wanted = GOFER_CAPS if role == "gofer" else 0
        now = status(pid)
        for kind in ("CapPrm", "CapEff", "CapBnd"):
            assert int(now[kind], 16) == wanted, (role, kind)
        for kind in ("CapInh", "CapAmb"):
            assert int(now[kind], 16) == 0, (role, kind)


def test_ids(live):
    for role, pid in everyone(live):
        now = status(pid)
        assert now["Groups"] == "", role
        uids, gids = now["Uid"].split(), now["Gid"].split()
        assert len(set(uids)) == 1
        assert len(set(gids)) == 1
        if role == "gofer":
            assert uids[0] == "0"
        else:
            assert int(uids[0]) == 0x70000000 + live.sentry  # a host user of the sandbox's own
            assert int(gids[0]) == 0x70000000 + live.sentry


def test_namespaces(live):
    for role, pid in everyone(live):
        assert namespaces(pid) == OWN_NAMESPACES, role
    mine = {kind: os.readlink(f"/proc/{live.sentry}/ns/{kind}") for kind in OWN_NAMESPACES}
    theirs = {kind: os.readlink(f"/proc/{live.gofer}/ns/{kind}") for kind in OWN_NAMESPACES}
    assert all(mine[kind] != theirs[kind] for kind in OWN_NAMESPACES)
    assert status(live.sentry)["NSpid"].split()[-1] == "1"
    assert status(live.gofer)["NSpid"].split()[-1] == "1"


def test_root_is_empty_and_read_only(live):
    for role, pid in everyone(live):
        assert os.listdir(f"/proc/{pid}/root") == [], role
        with open(f"/proc/{pid}/mountinfo") as file:
            lines = file.read().splitlines()
        assert len(lines) == 1, role
        assert lines[0].split()[4:6] == ["/", "ro,nosuid,nodev,noexec,relatime"], role
        assert " tmpfs stockade ro," in lines[0], role
        # The gofer works in its descriptors' directory, from which nothing else of procfs can be reached.
        assert role == "gofer" or os.readlink(f"/proc/{pid}/cwd") == "/", role


def test_no_network(live):
    for _, pid in everyone(live):
        with open(f"/proc/{pid}/net/dev") as file:
            names = [line.split(":")[0].strip() for line in file.readlines()[2:]]
        assert set(names) <= {"lo", "sit0", "ip6tnl0", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"}


def test_seccomp_and_no_new_privs(live):
    for role, pid in everyone(live):
        now = status(pid)
        assert now["NoNewPrivs"] == "1", role
        assert now["Seccomp"] == "2", role
        if role != "guest":
            assert now["Seccomp_filters"] == "1", role


def test_every_thread_has_the_filter(live):
    for role, pid in everyone(live):
        for tid in os.listdir(f"/proc/{pid}/task"):
            assert status(f"{pid}/task/{tid}")["Seccomp"] == "2", role


def test_descriptors(live):
    for role, pid in everyone(live):
        allowed = {"sentry": SENTRY_FDS, "gofer": GOFER_FDS, "guest": GUEST_FDS}[role]
        for fd, target in links(pid).items():
            assert any(re.fullmatch(pattern, target) for pattern in allowed), (role, fd, target)
    assert {links(live.sentry)[fd] for fd in (0, 1, 2)} <= {"/dev/null", "/null"}  # its mount has left the namespace


def test_sockets_are_the_two_that_are_known(live):
    sockets = [target for target in links(live.gofer).values() if target.startswith("socket:")]
    assert len(sockets) == 1


def test_no_memory_that_can_be_written_and_executed(live):
    for role, pid in everyone(live):
        with open(f"/proc/{pid}/maps") as file:
            assert not [line for line in file if "wx" in line.split()[1]], role


def test_no_core_dump_can_start_a_helper_of_the_host(live):
    for role, pid in everyone(live):
        assert limit(pid, "Max core file size") == ["1", "1"], role


def test_no_capability_of_the_caller_is_in_reach(live):
    """The Sentry's user namespace maps one id, that of the sandbox's own."""
    with open(f"/proc/{live.sentry}/uid_map") as file:
        assert file.read().split() == ["65534", str(0x70000000 + live.sentry), "1"]
    for _, pid in everyone(live)[2:]:
        assert os.readlink(f"/proc/{pid}/ns/user") == os.readlink(f"/proc/{live.sentry}/ns/user")


def test_it_idles(live):
    """A sandbox whose program sleeps uses no CPU time."""

    def ticks(pid):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = [ticks(pid) for _, pid in everyone(live)]
    time.sleep(1)
    assert [ticks(pid) for _, pid in everyone(live)] == before


def test_memory(live):
    """Sentry and gofer of an idle busybox container: at most 25 MiB (PSS)."""
    total = 0
    for pid in (live.sentry, live.gofer):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    assert total <= 25 * 1024
