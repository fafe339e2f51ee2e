"""Which network a container gets: flags, annotations, the namespace of the Sentry, what its guests keep."""

import pytest

from sandbox import network
from sandbox.errors import CliError


class Settings:
    network = "sandbox"
    allow_flag_override = False


def annotated(value):
    return {"annotations": {"dev.stockade.network": value}}


def test_the_flag_decides():
    assert network.mode(Settings, {}) == "sandbox"


def test_an_annotation_may_take_the_network_away():
    assert network.mode(Settings, annotated("none")) == "none"


def test_an_annotation_gives_more_only_with_leave():
    with pytest.raises(CliError, match="allow-flag-override"):
        network.mode(Settings, annotated("host"))

    class Allowed(Settings):
        allow_flag_override = True

    assert network.mode(Allowed, annotated("host")) == "host"


def test_an_unknown_mode_is_refused():
    with pytest.raises(CliError, match="none of none, host, sandbox"):
        network.mode(Settings, annotated("bridge"))


def test_parameters_of_the_callers_namespace_are_not_changed():
    with pytest.raises(CliError, match=r"net\.ipv4\.ip_forward"):
        network.Plan("host", {"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}})


@pytest.mark.parametrize("name", ["net.ipv4.../../kernel.core_pattern", "net/../kernel/core_pattern", "net/nosuch"])
def test_only_parameters_of_the_network_are_written(name):
    with pytest.raises(CliError, match="linux.sysctl"):
        network.set_sysctls({name: "1"})


def test_a_missing_namespace_is_one_clear_error(cli, bundle, tmp_path):
    path = bundle("exit", "0", change=lambda c: c.update(linux={"namespaces": [{"type": "network", "path": str(tmp_path / "nowhere")}]}))
    done = cli("--network", "host", "create", "--bundle", path, "c")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "nowhere" in done.stderr
