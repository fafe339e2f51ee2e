"""Which network a container gets: flags, annotations, the namespace of the Sentry, what its guests keep."""

import pytest

from sandbox import network
from sandbox.errors import CliError


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
