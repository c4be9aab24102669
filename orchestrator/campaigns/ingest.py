"""Takes an input in: read, tried, priced and copied piece by piece, in constant memory, on from where it was."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.campaigns.commands import token_of
from orchestrator.campaigns.reading.formats import Format
from orchestrator.campaigns.reading.opening import open_source
from orchestrator.campaigns.reading.rows import RowReader, Taken
from orchestrator.campaigns.requests import Requests, Trial, added, parsed
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign, CampaignState, Group, Input, RowError
from orchestrator.domain.campaign_rows import NewRow
from orchestrator.domain.errors import InvalidField, LimitExceeded, NotFound, RequestError
from orchestrator.domain.texts import storable
from orchestrator.kit.scratch import scratch
from orchestrator.ports import ObjectStore
from orchestrator.ports.campaign_values import NOW, Change, Hold
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import logs, metrics

_log = logs.get("campaigns")

_RECORDS = 5_000
_STRICT = RowError(code="bad_rows", message="the input has bad rows, and the campaign is strict")


class _Counted:
    """The bytes of an input as they pass, and their hash."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            self.size += len(chunk)
            yield chunk

    def finish(self) -> str:
        """The SHA-256 of all of it: what nobody asked for is read to the end."""
        for _ in self:
            pass
        return self._digest.hexdigest()


class Ingest:
    """Reads one input to its end. Killed anywhere, it is read again, and goes on behind the last row that is in."""

    def __init__(self, settings: Settings, store: CampaignStore, objects: ObjectStore, requests: Requests) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._requests = requests

    async def take_in(self, hold: Hold) -> float:
        """To its plan, or to the reason why there is none."""
        try:
            change = await self._read(hold)
        except NotFound as error:
            gone = RowError(code="input_not_found", message=storable(error.message), param="input")
            change = _failed(gone)
        except LimitExceeded as error:
            full = RowError(code=f"limit_{error.limit}", message=storable(error.message), param="input")
            change = _failed(full)
        except RequestError as error:
            message = error.message if error.param in (None, "input") else f"{error.param}: {error.message}"
            change = _failed(RowError(code=error.code, message=storable(message), param=error.param))
        after = await self._store.change_held(hold, change)
        metrics.campaigns_moved.labels(after.state).inc()
        _log.info(
            "campaign_taken_in", campaign=after.id, tenant=after.tenant, rows=after.counts.rows, bad=after.counts.bad
        )
        return 0

    async def _read(self, hold: Hold) -> Change:
        campaign = hold.campaign
        assert campaign.input is not None, "what is taken in has an input"
        counted = _Counted(self._objects.stream(campaign.input.key))
        with scratch() as spool:
            reader, form = await asyncio.to_thread(self._open, campaign, counted, spool.path)
            await self._rows(hold, reader)
            sha256 = await asyncio.to_thread(counted.finish)
        found = replace(campaign.input, format=form, size=counted.size, sha256=sha256)
        return await self._planned(hold, found)

    def _open(self, campaign: Campaign, counted: _Counted, spool: Path) -> tuple[RowReader, Format]:
        own, template = self._settings.campaigns, campaign.template
        assert campaign.input is not None
        source = open_source(
            iter(counted),
            form=None if campaign.input.format is None else Format(campaign.input.format),
            max_bytes=own.max_input_bytes,
            max_record_bytes=own.max_record_bytes,
            max_picture_bytes=self._settings.max_request_bytes,  # no request has a larger one
            spool=spool,
            skip=campaign.records,
        )
        negative = template.negative_prompt
        reader = RowReader(
            source,
            prompt=parsed(template.prompt, "template.prompt") if template.prompt else None,
            negative_prompt=parsed(negative, "template.negative_prompt") if negative else None,
            parameters=self._requests.parameters,
            check=Trial(self._requests, campaign.tenant, template, max_chars=self._settings.api.max_prompt_chars),
            variants=campaign.ask.variants,
            seeds=campaign.ask.seeds or (),
        )
        return reader, source.form

    async def _rows(self, hold: Hold, reader: RowReader) -> None:
        """Copy piece by piece, reading the next one while the database takes the last."""
        records, rows = hold.campaign.records, hold.campaign.counts.rows
        most = self._settings.campaigns.max_rows
        taken = await asyncio.to_thread(reader.take, _RECORDS)
        while taken.records:
            records += taken.records
            if rows + len(taken.rows) > most:
                raise InvalidField(f"has more than {most} rows", param="input", code="too_many_rows")
            priced = partial(_priced, taken)
            ahead = asyncio.create_task(asyncio.to_thread(reader.take, _RECORDS))
            try:
                rows = await self._store.add_rows(hold, taken.rows, taken.bad, records=records, estimate=priced)
            except BaseException:
                await asyncio.wait([ahead])  # a thread cannot be left alone with the file
                raise
            taken = await ahead

    async def _planned(self, hold: Hold, found: Input) -> Change:
        campaign = replace(await self._store.read_held(hold), input=found)  # counted and priced where the rows are
        if campaign.ask.strict and campaign.counts.bad:
            return _failed(_STRICT)
        if not campaign.counts.rows:
            return _failed(RowError(code="no_rows", message="no row of the input can be rendered"))
        token = token_of(campaign, self._settings.revisions, left_out=0)
        told = {"rows": campaign.counts.rows, "bad_rows": campaign.counts.bad, "plan_token": token}
        return Change(
            state=CampaignState.PLANNED,
            values={"input": found, "plan_token": token},
            events=[("campaign.planned", told)],
        )


def _failed(error: RowError) -> Change:
    told = {"code": error.code, "message": error.message}
    values = {"error": error, "ended_at": NOW, "drained": True}
    return Change(state=CampaignState.FAILED, values=values, events=[("campaign.failed", told)])


def _priced(taken: Taken, before: tuple[Group, ...], kept: Sequence[NewRow]) -> tuple[Group, ...]:
    """The estimate with those rows of a piece that turned out to be new; their names differ from each other."""
    prices = dict(zip((row.custom_id for row in taken.rows), taken.prices, strict=True))
    return added(before, Counter(prices[row.custom_id] for row in kept))
