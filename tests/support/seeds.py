"""`--seeds N` and `--seed K`: with how many seeds the simulations run, and from which on.

pytest tests/simulation --seeds 100     the seeds 0 to 99
pytest tests/simulation --seed 4711     that one alone, to replay it
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "seeds(n): a simulation, which gets a `seed`; in the ordinary run 0 to n - 1")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulations")
    group.addoption("--seeds", type=int, metavar="N", help="run every simulation with N seeds")
    group.addoption("--seed", type=int, metavar="K", help="the first seed; without --seeds the only one")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is None:
        return
    count, first = metafunc.config.getoption("seeds"), metafunc.config.getoption("seed")
    if count is None:
        count = marker.args[0] if first is None else 1
    metafunc.parametrize("seed", range(first or 0, (first or 0) + count))
