"""Runs one scenario of a script: named on the command line, given JSON on stdin; it prints what it saw as JSON."""

import json
import sys
from collections.abc import Callable
from typing import Any


def run(*scenarios: Callable[..., Any]) -> None:
    chosen = {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]]
    print(json.dumps(chosen(**json.load(sys.stdin))))
