"""linux.seccomp of the configuration: each profile is tried with stockade, on both platforms, and with runc, and calls must
answer the same."""

import json
import os
import shutil
import subprocess

import pytest
from cli_helpers import Cli, needs_root
from support import ROOT, STOCKADE

pytestmark = needs_root
PODMAN_PROFILE = "/usr/share/containers/seccomp.json"
NATIVE = ["SCMP_ARCH_X86_64"]
# what the program itself needs, and calls to look at
NEEDED = ["execve", "write", "exit_group", "exit", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "mprotect",
          "readlinkat", "readlink", "getrandom", "newfstatat", "mmap", "munmap", "fstat", "futex", "close", "read", "fcntl", "openat", "capget", "capset",
          "prctl", "setgid", "setuid", "setgroups", "chdir", "epoll_pwait", "nanosleep", "rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "tgkill",
          "getpid", "gettid", "sigaltstack", "clone", "statfs", "faccessat2", "fstatfs", "getdents64", "lseek", "epoll_ctl", "epoll_create1", "eventfd2",
          "pipe2", "madvise", "sched_yield", "sched_getaffinity", "uname", "getppid", "fchdir", "unlinkat", "dup3", "close_range", "access", "stat"]  # fmt: skip
GETUID, GETGID, GETEUID, GETSID, UMASK, PERSONALITY, SYSINFO, UNSHARE = 102, 104, 107, 124, 95, 135, 99, 272


@pytest.fixture(scope="module")
def program():
    built = os.path.join(ROOT, "build", "guests")
    subprocess.run(["make", "-s", "-C", f"{ROOT}/tests/guests", f"OUT={built}", f"{built}/calls", f"{built}/seccomps"], check=True)
    return built


@pytest.fixture(params=["systrap", "ptrace", "runc"])
def runtime(request, nothing_left):
    if request.param == "runc":
        if shutil.which("runc") is None:
            pytest.skip("runc is not installed")
        return Cli(shutil.which("runc"), nothing_left)
    return Cli(STOCKADE, nothing_left, ["--platform", request.param])


@pytest.fixture
def run(runtime, program, tmp_path):
    (tmp_path / "b" / "rootfs" / "proc").mkdir(parents=True)
    for name in ("calls", "seccomps"):
        shutil.copy(f"{program}/{name}", tmp_path / "b" / "rootfs")

    def run(profile, *calls, no_new_privs=True, program="/calls"):
        config = {
            "ociVersion": "1.0.2", "root": {"path": "rootfs"},
            "process": {"args": [program, *map(str, calls)], "cwd": "/", "env": [], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": no_new_privs},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")], "seccomp": profile},
        }  # fmt: skip
        (tmp_path / "b" / "config.json").write_text(json.dumps(config))
        return runtime("run", "--bundle", tmp_path / "b", "c")

    return run


def answers(result):
    assert result.returncode == 0, result.stderr
    return dict(line.rsplit(": ", 1) for line in result.stdout.splitlines())


def rule(names, action="SCMP_ACT_ERRNO", **more):
    return {"names": names if isinstance(names, list) else [names], "action": action, **more}


def allowing(*rules, **more):
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": NATIVE, "syscalls": list(rules), **more}


def test_errno(run):
    profile = allowing(rule("getuid"), rule(["getgid", "geteuid"], errnoRet=71), rule("getsid", "SCMP_ACT_TRACE"), rule("umask", "SCMP_ACT_LOG"),
                       rule(["no_such_call", "getpgid"], errnoRet=0))  # fmt: skip
    assert answers(run(profile, GETUID, GETGID, GETEUID, GETSID, UMASK, SYSINFO, "121")) == {
        "102": "EPERM", "104": "EPROTO", "107": "EPROTO", "124": "ENOSYS", "95": "positive", "99": "EFAULT", "121": "0"
    }  # fmt: skip


@pytest.mark.parametrize(("action", "code"), [("KILL", 159), ("KILL_PROCESS", 159), ("KILL_THREAD", 159), ("TRAP", 159)])
def test_deadly_actions(run, action, code):
    result = run(allowing(rule("getuid", "SCMP_ACT_" + action)), GETGID, GETUID, GETEUID)
    assert (result.stdout, result.returncode) == ("104: 0\n", code)


def compare(op, value, two=0, index=0):
    return {"index": index, "value": value, "valueTwo": two, "op": "SCMP_CMP_" + op}


@pytest.mark.parametrize(
    ("op", "value", "two", "refused"),
    [
        ("EQ", 5, 0, (5,)), ("NE", 5, 0, (0, 4, 6, 1 << 40)), ("LT", 5, 0, (0, 4)), ("LE", 5, 0, (0, 4, 5)), ("GE", 5, 0, (5, 6, 1 << 40)),
        ("GT", 5, 0, (6, 1 << 40)), ("MASKED_EQ", 4, 4, (4, 5, 6)), ("EQ", 1 << 40, 0, (1 << 40,)),
    ],
)  # fmt: skip
def test_operators(run, op, value, two, refused):
    found = answers(run(allowing(rule("umask", errnoRet=71, args=[compare(op, value, two)])), *(f"95:{n}" for n in (0, 4, 5, 6, 1 << 40))))
    assert {n for n in (0, 4, 5, 6, 1 << 40) if found[f"95:{n}"] == "EPROTO"} == set(refused)


def test_several_conditions(run):
    both = rule("getpgid", errnoRet=71, args=[compare("EQ", 1), compare("EQ", 2, index=1)])
    either = rule("getsid", errnoRet=71, args=[compare("EQ", 1), compare("EQ", 2)])
    found = answers(run(allowing(both, either), "121:1:2", "121:1:3", "121:0:2", "124:1", "124:2", "124:0"))
    assert [key for key, value in found.items() if value == "EPROTO"] == ["121:1:2", "124:1", "124:2"]


def test_default_and_unknown_numbers(run):
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 71, "architectures": NATIVE, "syscalls": [rule(NEEDED, "SCMP_ACT_ALLOW")]}
    assert answers(run(profile, GETUID, 500, SYSINFO)) == {"102": "EPROTO", "500": "ENOSYS", "99": "EPROTO"}


def test_podmans_profile(run):
    if not os.path.exists(PODMAN_PROFILE):
        pytest.skip("containers-common is not installed")
    with open(PODMAN_PROFILE) as file:
        source = json.load(file)
    # as podman makes it of its file, without capabilities
    rules = [rule(entry["names"], entry["action"], args=entry.get("args") or [], **({"errnoRet": entry["errnoRet"]} if "errnoRet" in entry else {}))
             for entry in source["syscalls"] if not (entry.get("includes") or {}).get("caps")
             and "amd64" in ((entry.get("includes") or {}).get("arches") or ["amd64"])]  # fmt: skip
    profile = {"defaultAction": source["defaultAction"], "defaultErrnoRet": source.get("defaultErrnoRet", 38), "architectures": NATIVE, "syscalls": rules}
    found = answers(run(profile, GETUID, "135:0", "135:0xffffffff", "135:7", "165", "101:99", "246", "41:40:5:0", 600, "250:0:1", "39"))
    assert found["135:7"] == "ENOSYS" or found["135:7"] == "EPERM"
    reference = {"102": "0", "135:0": "0", "135:0xffffffff": "0", "39": "positive", "600": "ENOSYS"}
    assert {key: found[key] for key in reference} == reference


def test_status_and_further_filters(run):
    """The container's filter is the first of the chain; the guests' own come on top (the differential program runs as it is)."""
    result = run(allowing(rule("getsid")), program="/seccomps")
    assert "start: NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n" in result.stdout
    assert "many: NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t7\n" in result.stdout
    assert "tsync: 0\n" in result.stdout and "interpreter: exit 0\n" in result.stdout


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({}, None),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY is not supported"),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "linux.seccomp.defaultAction 'SCMP_ACT_MAYBE' is unknown"),
        ({"architectures": NATIVE}, "linux.seccomp.defaultAction is missing"),
        (allowing(rule("read", "SCMP_ACT_NOTIFY")), "linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY"),
        (allowing({"action": "SCMP_ACT_ALLOW"}), "linux.seccomp.syscalls[0].names is missing"),
        (allowing(rule("read", args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}])), "args[0].index 6 is out of range"),
        (allowing(rule("read", args=[{"index": 0, "value": 1, "op": "EQ"}])), "args[0].op 'EQ' is unknown"),
        (allowing(rule("read", args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}])), "args[0].value -1 is out of range"),
        (allowing(flags=["SECCOMP_FILTER_FLAG_X"]), "flags: 'SECCOMP_FILTER_FLAG_X' is unknown"),
        (allowing(rule("read", errnoRet=5000)), "errnoRet 5000 is out of range"),
    ],
)
def test_profiles_are_checked(cli, bundle, profile, message):
    result = cli("run", "--bundle", bundle("exit", "0", change=lambda config: config.update(linux={"seccomp": profile})), "c")
    if message is None:
        assert result.returncode == 0
    else:
        assert message in result.stderr and result.returncode == 1 and result.stderr.count("\n") == 1
