"""Platforms under test: each test gets a started one in `mini` and leaves no process behind."""

import importlib
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def mini(platform):
    harness = importlib.import_module("harness")
    try:
        module = importlib.import_module(f"sentry.platform.{platform}")
    except ImportError as error:
        pytest.skip(f"{platform} is not built: {error}")
    made = module.Platform()
    made.start()
    try:
        yield harness.Mini(made)
    finally:
        made.stop()
