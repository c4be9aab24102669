"""Registers the fixtures of tests/support for every suite, and sets what all its processes inherit."""

import os
import sys

# Hundreds of processes import the product: each would compile it anew where the shell forbids to keep bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# glibc gives large blocks back at once, and each render's are mapped and cleared anew, 4 KiB at a time: a tenth of a
# render's time on a virtual machine. In huge pages it costs next to nothing. Read when a process starts.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

pytest_plugins = [
    "tests.support.api",
    "tests.support.batches",
    "tests.support.helm",
    "tests.support.models",
    "tests.support.noskip",
    "tests.support.postgres",
    "tests.support.ray",
    "tests.support.s3",
    "tests.support.seeds",
    "tests.support.sharing",
    "tests.support.site",
    "tests.support.stack",
    "tests.support.thrift",
    "tests.support.clients",  # imports the one before
    "tests.support.web",
]
