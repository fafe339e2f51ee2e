#!/usr/bin/python3 -IS
"""The stockade command with the stand-in kernel of standin.py."""

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.dirname(os.path.dirname(HERE)), HERE]

import standin  # noqa: E402

from sandbox import launch  # noqa: E402
from sandbox.main import main  # noqa: E402

create = launch.create
launch.create = lambda *args, **options: create(*args, boot=standin, **options)
main(sys.argv[1:])
