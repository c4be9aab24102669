"""Reads a simulation's two files; what is wrong in them is told with file, line and key."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.domain.errors import ConfigError
from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.traffic import Traffic

Model = TypeVar("Model", bound=BaseModel)

_TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"^\s*([\w.\"'-]+?)\s*=")


def read(fleet: Path, traffic: Path) -> tuple[Fleet, Traffic]:
    """Both files, checked, each by itself and that they fit. Raises `ConfigError`, one line per wrong key."""
    ours, theirs = _read(fleet, Fleet), _read(traffic, Traffic)
    for kind in ("streams", "traces", "campaigns"):
        for name, table in getattr(theirs, kind).items():
            said = [("pools", pool) for pool in getattr(table, "pools", ())] + [("pool", table.pool)]
            for key, pool in said:
                if pool is not None and pool not in ours.pools:
                    known = ", ".join(ours.pools)
                    raise ConfigError(f"{traffic}: {kind}.{name}.{key}: {pool!r} is none of {fleet}'s pools: {known}")
    _check_guaranteed(fleet, ours, traffic, theirs)
    return ours, theirs


def _check_guaranteed(fleet: Path, ours: Fleet, traffic: Path, theirs: Traffic) -> None:
    """Guarantees are of pools that there are, and no more than their own workers: of shared ones none can be given."""
    promised: Counter[str] = Counter()
    for name, tenant in theirs.tenants.items():
        for pool, count in tenant.guaranteed.items():
            where = f"{traffic}: tenants.{name}.guaranteed.{pool}"
            if pool not in ours.pools:
                raise ConfigError(f"{where}: {pool!r} is none of {fleet}'s pools: {', '.join(ours.pools)}")
            promised[pool] += count
            if promised[pool] > (there := ours.pools[pool].most_workers):
                shared = ours.set_of(pool)
                own = "" if shared is None else f" of its own; those of shared.{shared} are guaranteed to nobody"
                raise ConfigError(f"{where}: {promised[pool]} would be guaranteed, and there are {there} workers{own}")


def _read(path: Path, model: type[Model]) -> Model:
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML; then it names the line
        raise ConfigError(f"{path}: {error}") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = [(item["loc"], str(item["msg"]), item["type"]) for item in error.errors(include_url=False)]
        raise ConfigError("\n".join(_explained(path, text, *item) for item in found)) from None


def _explained(path: Path, text: str, loc: Sequence[int | str], message: str, kind: str) -> str:
    keys = [str(part) for part in loc]
    line = _line_of(text, keys)
    where = str(path) if line is None else f"{path}, line {line}"
    said = "there is no such key" if kind == "extra_forbidden" else message.removeprefix("Value error, ")
    return f"{where}: {'.'.join(keys)}: {said}" if keys else f"{where}: {said}"


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line that says this key, or else that begins its table; None where neither can be found."""
    best: tuple[int, int] | None = None
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _parts(found[1])
            said = table
        elif found := _KEY.match(line):
            said = [*table, *_parts(found[1])]
        else:
            continue
        if said == list(keys[: len(said)]) and (best is None or len(said) > best[0]):
            best = len(said), number
    return best[1] if best else None


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
