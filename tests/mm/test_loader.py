"""What exec has the platform do for the segments of a program (sentry/mm/loader.py)."""

import pytest

from sentry.mm.loader import Layout
from sentry.platform.base import OP_MMAP_ANON, OP_MMAP_FD, OP_MPROTECT

FILE = 7


@pytest.fixture
def layout():
    made = Layout()
    yield made
    made.abandon()


def test_parts_that_follow_each_other_are_one_mapping(layout):
    layout.map_file(0x10000, 0x1000, 1, FILE, 0)
    layout.map_file(0x11000, 0x3000, 5, FILE, 0x1000)
    layout.map_file(0x14000, 0x2000, 1, FILE, 0x4000)
    assert layout.ops == [(OP_MMAP_FD, 0x10000, 0x6000, 1, False, FILE, 0), (OP_MPROTECT, 0x11000, 0x3000, 5)]


@pytest.mark.parametrize(
    "start, prot, fd, offset",
    [
        (0x12000, 5, FILE, 0x2000),  # a hole before it
        (0x11000, 5, FILE, 0x2000),  # further on in the file
        (0x11000, 5, FILE, 0),  # the same part again
        (0x11000, 5, FILE + 1, 0x1000),
        (0x11000, 3, FILE, 0x1000),  # pages of its own, which a larger mapping would not share
    ],
)
def test_others_are_mapped_alone(layout, start, prot, fd, offset):
    layout.map_file(0x10000, 0x1000, 1, FILE, 0)
    layout.map_file(start, 0x3000, prot, fd, offset)
    assert layout.ops == [(OP_MMAP_FD, 0x10000, 0x1000, 1, False, FILE, 0), (OP_MMAP_FD, start, 0x3000, prot, False, fd, offset)]


def test_nothing_is_joined_across_other_memory(layout):
    layout.map_file(0x10000, 0x1000, 1, FILE, 0)
    layout.ops.append((OP_MMAP_ANON, 0x11000, 0x1000, 3, False))
    layout.map_file(0x12000, 0x1000, 1, FILE, 0x1000)
    assert [op[0] for op in layout.ops] == [OP_MMAP_FD, OP_MMAP_ANON, OP_MMAP_FD]


def test_nothing_is_joined_to_a_writable_part(layout):
    layout.map_file(0x10000, 0x1000, 3, FILE, 0)
    layout.map_file(0x11000, 0x1000, 1, FILE, 0x1000)
    assert [op[0] for op in layout.ops] == [OP_MMAP_FD, OP_MMAP_FD]
