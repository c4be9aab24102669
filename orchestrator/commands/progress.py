"""Bars that move with real progress where a terminal looks on, and lines on stderr, or JSON, where none does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.commands import tables

if TYPE_CHECKING:
    from cogmill_client import Campaign
    from cogmill_client.models.campaigns import Counts
    from rich.progress import Progress


def on_terminal() -> bool:
    return sys.stderr.isatty()


@contextmanager
def of_video(name: str, *, as_json: bool) -> Iterator[Callable[[Any], object]]:
    """Hears a video's events."""
    if as_json:
        yield tables.line
    elif not on_terminal():
        yield lambda event: None
    else:
        with _bar() as bar:
            task = bar.add_task(name, total=100, what="queued")

            def hear(event: Any) -> None:
                if event.kind == "step":
                    bar.update(task, completed=event.progress, what=f"step {event.step} of {event.steps}")
                elif event.kind == "stage":
                    bar.update(task, what=event.stage)
                elif event.kind == "queue" and event.queue_reason:
                    bar.update(task, what=event.queue_reason)

            yield hear


class OfCampaign:
    """Sees a campaign whole now and then, and hears its events in between."""

    def see(self, campaign: Campaign) -> None:
        """Nothing is shown of it."""

    def hear(self, event: Any) -> None:
        """Nothing is said of it."""


class _Lines(OfCampaign):
    """Says on stderr where it stands, whenever that changes."""

    _said = ""

    def see(self, campaign: Campaign) -> None:
        line = f"{campaign.id}: {stands(campaign)}"
        if line != self._said:
            typer.echo(line, err=True)
            self._said = line


class _Json(OfCampaign):
    def hear(self, event: Any) -> None:
        tables.line(event)


class _Bar(OfCampaign):
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, what="")
        self._state = ""

    def see(self, campaign: Campaign) -> None:
        self._state = stands(campaign)
        self._bar.update(self._task, description=campaign.name or campaign.id)
        self._moved(campaign.counts, "")

    def hear(self, event: Any) -> None:
        if event.kind == "counts":
            rate = f", {event.rows_per_hour:,.0f} rows/h" if event.rows_per_hour else ""
            done = (
                f", done about {tables.when(event.forecast.likely_at)} UTC"
                if event.forecast and event.forecast.likely_at
                else ""
            )
            self._moved(event.counts, rate + done)

    def _moved(self, counts: Counts, more: str) -> None:
        failed = f", {counts.failed:,} failed" if counts.failed else ""
        what = f"{self._state}: {ended(counts):,} of {counts.rows:,}{failed}{more}"
        self._bar.update(self._task, total=counts.rows or None, completed=ended(counts), what=what)


@contextmanager
def of_campaign(*, as_json: bool) -> Iterator[OfCampaign]:
    """Follows a campaign."""
    if as_json:
        yield _Json()
    elif not on_terminal():
        yield _Lines()
    else:
        with _bar() as bar:
            yield _Bar(bar)


@contextmanager
def of_files(total: int | None) -> Iterator[Callable[..., object]]:
    """Is called for each file that is there."""
    if not on_terminal():
        yield lambda *_: None
        return
    with _bar() as bar:
        task = bar.add_task("downloading", total=total, what="")
        count = 0

        def tell(*_: object) -> None:
            nonlocal count
            count += 1
            bar.update(task, completed=count, what=f"{count:,} files")

        yield tell


def stands(campaign: Campaign) -> str:
    """Its state in a few words."""
    reasons = f" ({', '.join(campaign.pause_reasons)})" if campaign.pause_reasons else ""
    waits = f": {campaign.waiting_for}" if campaign.waiting_for else ""
    return f"{campaign.state.replace('_', ' ')}{reasons}{waits}"


def ended(counts: Counts) -> int:
    """Rows that nothing more becomes of."""
    return counts.succeeded + counts.failed + counts.cancelled + counts.dropped + counts.waived


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[what]}", markup=False),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True, highlight=False))
