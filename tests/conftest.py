"""Registers the fixtures of tests/support for every suite."""

pytest_plugins = [
    "tests.support.api",
    "tests.support.batches",
    "tests.support.helm",
    "tests.support.models",
    "tests.support.noskip",
    "tests.support.postgres",
    "tests.support.ray",
    "tests.support.s3",
    "tests.support.site",
    "tests.support.stack",
    "tests.support.clients",  # imports the one before
    "tests.support.web",
]
