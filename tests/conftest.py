"""Registers the fixtures of tests/support for every suite."""

pytest_plugins = ["tests.support.postgres", "tests.support.s3"]
