"""Parsing of arguments, help texts, and what each command refuses."""

import json
import os
import re
import shutil
import subprocess

import pytest

from sandbox.args import Option, parse
from sandbox.errors import CliError, UsageError
from sandbox.signals import number

STOCKADE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "bin", "stockade")
COMMANDS = "run do create start state exec kill delete list ps debug spec features syscalls install uninstall port-forward update events pause resume wait".split()

OPTIONS = [
    Option("--bundle -b", "DIR", "", default="."),
    Option("--env -e", "X", "", many=True),
    Option("--tty -t", None, ""),
    Option("--interactive -i", None, ""),
    Option("--format", "F", "", default="a", choices=("a", "b")),
]


def stockade(*arguments, **options):
    return subprocess.run([STOCKADE, *arguments], capture_output=True, text=True, timeout=30, **options)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--bundle", "x", "id"], ("x", [], False, ["id"])),
        (["--bundle=x", "id"], ("x", [], False, ["id"])),
        (["-b", "x", "id"], ("x", [], False, ["id"])),
        (["-bundle", "x"], ("x", [], False, [])),
        (["-bundle=x=y"], ("x=y", [], False, [])),
        (["-e", "A=1", "-e", "B=2", "id"], (".", ["A=1", "B=2"], False, ["id"])),
        (["id", "--tty"], (".", [], True, ["id"])),
        (["--tty=false", "id"], (".", [], False, ["id"])),
        (["-ti", "id"], (".", [], True, ["id"])),
        (["--", "--tty"], (".", [], False, ["--tty"])),
        (["-"], (".", [], False, ["-"])),
    ],
)
def test_parse(argv, expected):
    values, positional = parse(OPTIONS, argv)
    assert (values.bundle, values.env, values.tty, positional) == expected


@pytest.mark.parametrize("command", ["list", "features", "syscalls", "--help"])
def test_output_that_cannot_be_written(command, tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([STOCKADE, "--root", tmp_path, command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (1, "stockade: No space left on device\n")


def test_parse_stops_at_the_first_argument_when_asked():
    values, positional = parse(OPTIONS, ["-t", "id", "--tty", "-x"], interspersed=False)
    assert values.tty
    assert positional == ["id", "--tty", "-x"]


@pytest.mark.parametrize(
    "argv", [["--nonsense"], ["--bundle"], ["-x"], ["--tty=perhaps"], ["--format", "c"], ["-tx"], ["--bundl", "x"]]
)
def test_parse_refuses(argv):
    with pytest.raises(UsageError):
        parse(OPTIONS, argv)


def test_a_near_miss_is_suggested():
    with pytest.raises(UsageError, match="did you mean --bundle"):
        parse(OPTIONS, ["--bunlde", "x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("0", 0), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)],
)
def test_signal_numbers(text, expected):
    assert number(text) == expected


@pytest.mark.parametrize("text", ["TERMX", "", "65", "-1", "RTMIN+", "RTMAX+1", "1.5"])
def test_signals_that_do_not_exist(text):
    with pytest.raises(CliError):
        number(text)


def test_help_names_every_command_and_flag():
    result = stockade("--help")
    assert result.returncode == 0
    for word in COMMANDS + ["--root", "--log-format", "--platform", "--debug-log", "--rootless"]:
        assert f" {word}" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command):
    result = stockade(command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: stockade [FLAGS] {command} ")
    assert stockade("help", command).stdout == result.stdout


@pytest.mark.parametrize("command", ["", *"create run start state kill delete exec list ps pause resume events update spec features".split()])
def test_the_flags_of_runc_are_taken(command):
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    pattern = re.compile(r"^ +(--[a-z0-9-]+)", re.MULTILINE)
    arguments = [*command.split(), "--help"]
    theirs = set(pattern.findall(subprocess.run(["runc", *arguments], capture_output=True, text=True, timeout=30).stdout))
    ours = set(re.findall(r"--[a-z0-9-]+", stockade(*arguments).stdout)) | {"--help"}
    assert not theirs - ours
    assert theirs or command in ("start", "state", "pause", "resume", "features")


def test_topics():
    platforms, flags = stockade("help", "platforms"), stockade("help", "flags")
    assert "systrap" in platforms.stdout and "ptrace" in platforms.stdout and platforms.returncode == 0
    assert "--platform NAME" in flags.stdout and "dev.stockade.flag." in flags.stdout and flags.returncode == 0
    nonsense = stockade("help", "nonsense")
    assert nonsense.returncode == 1 and nonsense.stderr.count("\n") == 1


def test_syscalls():
    rows = {row["name"]: row for row in json.loads(stockade("syscalls", "--format", "json").stdout)}
    assert rows["read"] == {"number": 0, "name": "read", "level": "full", "note": ""}
    assert rows["bpf"]["level"] == "unsupported" and rows["bpf"]["note"]
    assert rows["uretprobe"]["level"] == "none" and len(rows) > 370
    assert stockade("syscalls", "-f", "csv", "read", "write").stdout == 'number,name,level,"note"\n0,read,full,""\n1,write,full,""\n'
    assert stockade("syscalls", "--level", "full", "bpf").stdout.split() == ["NR", "NAME", "LEVEL", "NOTE"]
    unknown = stockade("syscalls", "frobnicate")
    assert unknown.returncode == 1 and "no system call 'frobnicate'" in unknown.stderr


def test_version():
    result = stockade("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("stockade version ")


@pytest.mark.parametrize(
    "argv",
    [
        ["frobnicate"], ["--frobnicate", "list"], ["run"], ["run", "a", "b"], ["create"], ["start"], ["state"], ["kill"],
        ["kill", "a", "b", "c"], ["delete"], ["exec"], ["exec", "a"], ["do"], ["list", "x"], ["ps"], ["features", "x"],
        ["debug"], ["debug", "a"], ["debug", "--stats"], ["debug", "--json", "a"], ["debug", "--profile", "a"], ["debug", "--stats", "a", "b"],
        ["--platform", "kvm", "list"], ["--log-format", "xml", "list"],
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_fails(argv, tmp_path):
    result = stockade("--root", str(tmp_path), *argv)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("stockade: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["checkpoint", "restore"])
def test_checkpoints_are_refused(command):
    """Also `checkpoint --help`, by which engines find out whether they may offer it."""
    result = stockade(command, "--help")
    assert result.returncode == 1 and result.stderr == f"stockade: {command}: checkpoints are not supported\n"


@pytest.mark.parametrize("command", ["create", "run", "exec", "update"])
def test_the_flags_of_crun_are_taken(command):
    if shutil.which("crun") is None:
        pytest.skip("crun is not installed")
    theirs = subprocess.run(["crun", command, "--help"], capture_output=True, text=True, timeout=30).stdout
    ours = stockade(command, "--help").stdout
    assert not set(re.findall(r"^ .*?(--[a-z0-9-]+)", theirs, re.MULTILINE)) - set(re.findall(r"--[a-z0-9-]+", ours)) - {"--help", "--usage"}


def test_through_a_symlink_and_from_anywhere(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(STOCKADE)
    relative = os.path.relpath(STOCKADE, tmp_path)
    for program in (str(link), relative):
        result = subprocess.run([program, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=30)
        assert result.returncode == 0


def test_features_is_json():
    features = json.loads(stockade("features").stdout)
    assert features["ociVersionMin"] == "1.0.0"
    assert "CAP_CHOWN" in features["linux"]["capabilities"]


def test_spec_writes_a_configuration_that_is_accepted(tmp_path):
    (tmp_path / "rootfs").mkdir()
    assert stockade("spec", "--bundle", str(tmp_path)).returncode == 0
    from sandbox import oci

    assert oci.load(str(tmp_path))["process"]["args"] == ["sh"]
    again = stockade("spec", cwd=tmp_path)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_errors_go_to_the_log_as_json(tmp_path):
    log = tmp_path / "log.json"
    result = stockade("--log", str(log), "--log-format", "json", "--root", str(tmp_path / "s"), "state", "nobody")
    assert result.returncode == 1
    line = json.loads(log.read_text())
    assert line["level"] == "error"
    assert line["msg"] == "container 'nobody' does not exist"
    assert line["time"].endswith("Z")
