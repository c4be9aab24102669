"""What the commands for users print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

_NOTHING = "-"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what is in them; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[at]) for row in cells) for at in range(len(heads))]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in (heads, *cells):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        typer.echo("  ".join(padded).rstrip())


def facts(given: Mapping[str, object]) -> None:
    """Names and values, one a line; those that are None are left out."""
    shown = {name: _cell(value) for name, value in given.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        typer.echo(f"{name.ljust(width)}  {value}")


def document(answer: BaseModel | Sequence[BaseModel] | Mapping[str, Any]) -> None:
    """One JSON document."""
    typer.echo(json.dumps(plain(answer), indent=2, ensure_ascii=False))


def line(answer: BaseModel | Mapping[str, Any]) -> None:
    """One line of JSON, out at once."""
    typer.echo(json.dumps(plain(answer), ensure_ascii=False))


def array(answers: Iterable[BaseModel]) -> None:
    """One JSON document of any length, written as it comes."""
    begun = False
    for answer in answers:
        typer.echo("," if begun else "[", nl=not begun)
        typer.echo(("\n" if begun else "") + json.dumps(plain(answer), ensure_ascii=False), nl=False)
        begun = True
    typer.echo("\n]" if begun else "[]")


def plain(answer: Any) -> Any:
    """What JSON can say."""
    if hasattr(answer, "model_dump"):
        return answer.model_dump(mode="json")
    if isinstance(answer, Mapping):
        return {name: plain(value) for name, value in answer.items()}
    return [plain(each) for each in answer] if isinstance(answer, list | tuple) else answer


def when(seconds: float | None) -> str | None:
    """A moment in UTC, to the minute."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def between(low: float | None, likely: float | None, high: float | None) -> str | None:
    """A moment that is not known exactly, and from when to when it may be; None for one that never comes."""
    if likely is None:
        return None
    return f"{when(likely)} UTC ({when(low or likely)} to {'never' if high is None else when(high)})"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.3g} s"


def visible(text: str) -> str:
    """A line that others wrote a part of: a name with a line's end, an escape or an override of the direction in it
    must not draw on the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return visible(str(value))


def _is_number(cell: str) -> bool:
    return cell == _NOTHING or cell.replace(",", "").replace(".", "").removeprefix("-").isdecimal()
