"""Registers the fixtures of tests/support for every suite."""

pytest_plugins = ["tests.support.models", "tests.support.postgres", "tests.support.s3"]
