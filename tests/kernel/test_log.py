"""The Sentry's log as callers of the command read it."""

import json
import os
import random
import time

from sentry.core import log


def test_stamps_are_those_of_the_c_library():
    chance = random.Random(3)
    for ns in [0, 951782399 * 10**9, 951782400 * 10**9, *(chance.randrange(7 * 10**18) for _ in range(5000))]:
        wanted = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(ns // 10**9)) + f"{ns // 1000 % 10**6:06}Z"
        assert log.stamp(ns) == wanted


def test_json_lines(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(log, "_fd", writer)
    monkeypatch.setattr(log, "_json", True)
    log.error('a "quoted"\n\x01 line')
    line = json.loads(os.read(reader, 4096))
    os.close(reader)
    os.close(writer)
    assert line["level"] == "error" and line["msg"] == 'a "quoted"\n\x01 line' and line["time"].endswith("Z")
