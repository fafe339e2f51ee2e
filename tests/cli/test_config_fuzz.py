"""Mutations of a valid configuration: an error is one clear line, never a traceback, and nothing is left behind."""

import copy
import json
import random
import shutil

import pytest
from cli_helpers import Cli, needs_root
from support import STOCKADE
from support import rootfs as root_file_system

from sandbox import cgroups, flags, hooks, idmap, launch, main, network, oci
from sandbox.args import Values
from sandbox.errors import CliError
from sentry.kernel import container as kernel_container
from sentry.kernel import seccomp

WORDS = ["", "/", "x", "/x", "..", "../..", "/proc", "/dev/null", "a\0b", "\n", "ä€", "rbind", "ro", "size=9x", "mode=9", "uid=-1", "SCMP_ACT_ALLOW", "CAP_CHOWN",
         "RLIMIT_CPU", "network", "user", "/proc/self/ns/net", "x" * 5000, "0", "-1", "*", "%s", "{}", "tmpfs", "bind", "proc", "sysfs", "cgroup"]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e308]


def configuration(root="/", source="/etc"):
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    return {
        "ociVersion": "1.0.2", "root": {"path": str(root), "readonly": True}, "hostname": "h", "domainname": "d",
        "annotations": {"a": "b", "dev.stockade.flag.network": "none"},
        "process": {
            "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "terminal": False, "noNewPrivileges": True, "oomScoreAdj": 5,
            "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [1, 2]}, "consoleSize": {"height": 24, "width": 80},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}], "apparmorProfile": "", "selinuxLabel": "",
            "capabilities": {kind: ["CAP_KILL", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
            "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "flags": []}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "t", "options": ["mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", "ro", "rprivate"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["tmpcopyup", "nosuid"]},
        ],
        "hooks": {"poststop": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}]},
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")], "uidMappings": mapping, "gidMappings": list(mapping),
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"], "sysctl": {"net.ipv4.ip_forward": "1", "kernel.domainname": "x"},
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
            "resources": {"memory": {"limit": 500000000}, "cpu": {"shares": 100, "quota": 100000, "period": 100000}, "pids": {"limit": 500}},
            "rootfsPropagation": "rprivate", "personality": {"domain": "LINUX"}, "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 6}},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
                {"names": ["getpid", "nothing"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}]}]},
        },
    }  # fmt: skip


def places(value, found):
    """Every (container, key) of the tree."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            places(value[key], found)
    return found


def anything(roll, depth=0):
    kind = roll.randrange(8 if depth < 2 else 5)
    if kind == 0:
        return roll.choice(NUMBERS)
    if kind < 3:
        return roll.choice(WORDS)
    if kind == 3:
        return None
    if kind == 4:
        return roll.choice([True, False])
    if kind < 7:
        return [anything(roll, depth + 1) for _ in range(roll.randrange(3))]
    return {roll.choice(["path", "type", "uid", "x", "limit", "names"]): anything(roll, depth + 1) for _ in range(roll.randrange(3))}


def mutate(config, roll):
    for _ in range(1 + roll.randrange(3)):
        value, key = roll.choice(places(config, []))
        what = roll.randrange(6)
        if what == 0:
            del value[key]
        elif what == 1 and isinstance(value, list):
            value.insert(key, copy.deepcopy(value[key]))
        elif what == 2 and isinstance(value[key], int | str):
            value[key] = roll.choice(NUMBERS) if isinstance(value[key], int) else roll.choice(WORDS)
        else:
            value[key] = anything(roll)
    return config


def interpret(config):
    """What `create` does with a configuration before it makes anything."""
    oci.check(config)
    settings = Values(main.OPTIONS)
    settings.root = "/run/stockade"
    settings = flags.for_container(settings, config)
    hooks.of(config)
    linux = config.get("linux") or {}
    if not any(namespace.get("path") for namespace in linux.get("namespaces") or () if namespace["type"] == "user"):
        idmap.of(config, False)
    launch.overlay(settings, "c", config)
    network.Plan(settings.network, config)
    cgroups.plan(config, "c", settings.systemd_cgroup)
    seccomp.profile(linux.get("seccomp"))
    try:
        kernel_container.make_creds(config["process"])
    except kernel_container.StartError:
        pass


@pytest.mark.parametrize("seed", range(20))
def test_in_process(seed):
    roll = random.Random(seed)
    accepted = 0
    for _ in range(400):
        config = mutate(configuration(), roll)
        text = json.dumps(config)
        try:
            interpret(json.loads(text))
            accepted += 1
        except CliError:
            pass
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error}: {text}")
    assert accepted > 20


def test_the_configuration_is_valid():
    interpret(configuration())


@needs_root
@pytest.mark.parametrize("seed", range(6))
def test_as_containers(nothing_left, tmp_path, seed):
    root = tmp_path / "rootfs"
    shutil.copytree(root_file_system("busybox"), root, symlinks=True)
    cli = Cli(STOCKADE, nothing_left, ["--log", tmp_path / "log", "--log-format", "json"])
    roll = random.Random(1000 + seed)
    source = tmp_path / "source"
    source.mkdir()
    for _ in range(25):
        config = mutate(configuration(root, str(source)), roll)
        linux = config.get("linux")
        namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
        for namespace in namespaces if isinstance(namespaces, list) else ():
            if isinstance(namespace, dict):
                namespace.pop("path", None)  # the test must not enter the host's
        text = json.dumps(config)
        (tmp_path / "config.json").write_text(text)
        result = cli("run", "--bundle", tmp_path, "c", timeout=120)
        assert "internal error" not in result.stderr and "Traceback" not in result.stderr, f"{result.stderr}\n{text}"
        assert result.returncode == 0 or result.stderr.count("\n") == 1 or result.stderr == "", f"{result.returncode} {result.stderr}\n{text}"


@needs_root
def test_null_is_absent(nothing_left, tmp_path):
    """As Go's decoder has it: each member of the configuration and of its parts by turns."""
    cli = Cli(STOCKADE, nothing_left)
    (tmp_path / "source").mkdir()

    def fresh():
        return configuration(root_file_system("busybox"), str(tmp_path / "source"))

    for part in ("", "root", "process", "linux"):
        for key in fresh()[part] if part else fresh():
            config, absent = fresh(), fresh()
            (config[part] if part else config)[key] = None
            del (absent[part] if part else absent)[key]
            answers = []
            for changed in (config, absent):
                (tmp_path / "config.json").write_text(json.dumps(changed))
                result = cli("run", "--bundle", tmp_path, "c", timeout=120)
                answers.append((result.returncode, result.stderr))
            assert answers[0] == answers[1], (part, key)
            assert "internal error" not in result.stderr and result.stderr.count("\n") <= 1, result.stderr
