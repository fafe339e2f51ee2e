"""The list of areas against a model that keeps every page by itself."""

import random

from sentry.mm.vma import VMA, VMAList

PAGE = 4096


class Backing:
    """Counts references, as a File does."""

    def __init__(self):
        self.refs = 0

    def incref(self):
        self.refs += 1
        return self

    def decref(self):
        self.refs -= 1


def pages(vmas):
    """{page number: (prot, shared, backing, offset of the page)}"""
    result = {}
    for area in vmas:
        for addr in range(area.start, area.end, PAGE):
            offset = area.offset + addr - area.start if area.backing is not None else 0
            result[addr // PAGE] = (area.prot, area.shared, area.backing, offset)
    return result


def check(vmas, model):
    assert pages(vmas) == model
    assert vmas.starts == [a.start for a in vmas.areas]
    for left, right in zip(vmas.areas, vmas.areas[1:]):
        assert left.end <= right.start


def test_random_operations():
    rng = random.Random(7)
    vmas, model = VMAList(), {}
    files = [None, None, Backing(), Backing()]
    for _ in range(4000):
        first = rng.randrange(1, 60)
        count = rng.randrange(1, 12)
        start, end = first * PAGE, (first + count) * PAGE
        action = rng.randrange(4)
        if action <= 1:
            backing = rng.choice(files)
            prot, shared = rng.randrange(4), backing is not None and rng.random() < 0.5
            offset = rng.randrange(4) * PAGE
            vmas.cut(start, end)
            vmas.insert(VMA(start, end, prot, shared, backing, offset))
            for i in range(count):
                model[first + i] = (prot, shared, backing, offset + i * PAGE if backing is not None else 0)
        elif action == 2:
            vmas.cut(start, end)
            for i in range(count):
                model.pop(first + i, None)
        else:
            vmas.split(start)
            vmas.split(end)
            prot = rng.randrange(4)
            for area in vmas.within(start, end):
                area.prot = prot
            vmas.join(start, end)
            for i in range(first, first + count):
                if i in model:
                    model[i] = (prot, *model[i][1:])
        check(vmas, model)
        assert vmas.covered(start, end) == all(i in model for i in range(first, first + count))
        found = vmas.find(start)
        assert (found is not None) == (first in model)
    for backing in files[2:]:
        assert backing.refs == sum(1 for a in vmas if a.backing is backing)
    vmas.cut(0, 1 << 40)
    assert all(b.refs == 0 for b in files[2:])


def test_gap_below_is_the_highest_that_fits():
    rng = random.Random(8)
    for _ in range(500):
        vmas = VMAList()
        used = set()
        for _ in range(rng.randrange(12)):
            first, count = rng.randrange(1, 60), rng.randrange(1, 6)
            vmas.cut(first * PAGE, (first + count) * PAGE)
            vmas.insert(VMA(first * PAGE, (first + count) * PAGE, 3))
            used.update(range(first, first + count))
        want = rng.randrange(1, 8)
        top = rng.randrange(40, 70)
        expected = next((s for s in range(top - want, 0, -1) if not used & set(range(s, s + want))), None)
        found = vmas.gap_below(top * PAGE, PAGE, want * PAGE)
        assert found == (None if expected is None else expected * PAGE)


def test_neighbours_join():
    vmas = VMAList()
    vmas.insert(VMA(PAGE, 2 * PAGE, 3))
    vmas.insert(VMA(3 * PAGE, 4 * PAGE, 3))
    vmas.insert(VMA(2 * PAGE, 3 * PAGE, 3))
    assert [(a.start, a.end) for a in vmas] == [(PAGE, 4 * PAGE)]
    vmas.insert(VMA(4 * PAGE, 5 * PAGE, 1))
    assert len(vmas) == 2
