"""Fixtures: gofers, and trees that they serve."""

import pytest
from gofer_trees import Gofer, Tree, populate


@pytest.fixture
def make_gofer():
    """Start gofers that are stopped, and judged, at the end of the test."""
    started = []

    def make(*arguments, **options):
        started.append(Gofer(*arguments, **options))
        return started[-1]

    yield make
    for gofer in started:
        gofer.stop()


@pytest.fixture
def make_tree(make_gofer, tmp_path):
    """A Tree on tmp_path/mount, made beside tmp_path/outside, which holds a secret."""
    host = tmp_path / "mount"
    outside = tmp_path / "outside"
    host.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")

    def make(readonly=False, flags=0):
        return Tree(host, outside, make_gofer([(host, readonly, flags)]))

    return make


@pytest.fixture
def tree(make_tree):
    """A writable tree; the server must hold no more descriptors at the end than it has handles."""
    tree = make_tree()
    yield tree
    assert tree.client.dead is None


@pytest.fixture
def full_tree(make_tree):
    """A tree with one of each kind of object in it, all MOUNT_* flags off."""
    tree = make_tree()
    populate(tree.host)
    return tree
