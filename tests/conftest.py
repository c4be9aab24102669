"""Registers the fixtures of tests/support for every suite, and sets what all its processes inherit."""

import os
import sys

from hypothesis import settings

from tests.support.tools import EXTRA

# Hundreds of processes import the product: each would compile it anew where the shell forbids to keep bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# torchao lies apart: diffusers imports what it finds, and every worker that a test starts would be slower for it.
sys.path.append(str(EXTRA))

# glibc gives large blocks back at once, and each render's are mapped and cleared anew, 4 KiB at a time: a tenth of a
# render's time on a virtual machine. In huge pages it costs next to nothing. Read when a process starts.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

# What fails once fails again: properties are looked at with the same examples in every run. `--hypothesis-seed=K` and
# `--hypothesis-profile=default` look at others. None fails for the time that it takes: machines are busy.
settings.register_profile("the same every time", derandomize=True, database=None, deadline=None)
settings.load_profile("the same every time")

pytest_plugins = [
    "tests.support.api",
    "tests.support.batches",
    "tests.support.campaigns",
    "tests.support.collector",
    "tests.support.console",
    "tests.support.helm",
    "tests.support.models",
    "tests.support.noskip",
    "tests.support.postgres",
    "tests.support.ray",
    "tests.support.rolling",
    "tests.support.s3",
    "tests.support.secrets",
    "tests.support.seeds",
    "tests.support.sharing",
    "tests.support.site",
    "tests.support.stack",
    "tests.support.thrift",
    "tests.support.clients",  # imports the one before
    "tests.support.web",
]
