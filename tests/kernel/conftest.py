import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from fakeplatform import World  # noqa: E402


@pytest.fixture
def world():
    return World()
