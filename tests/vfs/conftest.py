"""Every test begins with an empty name cache."""

import gc

import pytest

from sentry.vfs import dentry


@pytest.fixture(autouse=True)
def empty_cache():
    yield
    for root in tuple(dentry.roots):
        root.forget()
    gc.collect()
