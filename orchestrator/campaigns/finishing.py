"""What a campaign leaves behind: videos under its owner's names, and a signed manifest of what came of each row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from orchestrator.campaigns.asking import pattern_of
from orchestrator.campaigns.delivery import deliver
from orchestrator.campaigns.manifest import ManifestWriter, WrittenManifest
from orchestrator.campaigns.requests import texts_of
from orchestrator.config import Settings
from orchestrator.domain import jsontext
from orchestrator.domain.campaign import Campaign, CampaignState, ManifestMark, Outcome, TemplateVersion
from orchestrator.domain.campaign_ids import row_seed
from orchestrator.domain.delivering import OutputPattern
from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsRefused, ObjectsUnavailable, RequestError
from orchestrator.domain.job import Artifact, public_id_of
from orchestrator.domain.manifest import InputOf, ManifestHead, ManifestRow
from orchestrator.domain.manifest import TemplateVersion as Version
from orchestrator.ports import ObjectStore
from orchestrator.ports.campaign_values import EndedRow, Hold
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("campaigns")

_MP4 = "video/mp4"
# Copies at a time, within S3.
_COPIES = 16
_TEXTS = ("prompt", "negative_prompt")
_MINE = frozenset((*_TEXTS, "seed", "profile", "model"))


class Finishing:
    """Delivers, writes the manifest, ends. Doing it again leaves the same."""

    def __init__(self, settings: Settings, store: CampaignStore, objects: ObjectStore, writer: ManifestWriter) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._writer = writer

    async def finish(self, hold: Hold) -> float:
        """Deliver, write the last manifest, and end."""
        campaign = hold.campaign
        written = await self._write(campaign, final=True)
        state = CampaignState.CANCELLED if campaign.state is CampaignState.CANCELLED else CampaignState.COMPLETED
        await self._store.end_campaign(hold, state, _mark(written))
        metrics.campaigns_moved.labels(state).inc()
        counts = campaign.counts
        _log.info(
            "campaign_ended",
            campaign=campaign.id,
            tenant=campaign.tenant,
            state=state,
            succeeded=counts.succeeded,
            failed=counts.failed,
        )
        return 0

    async def revise(self) -> int:
        """Write a revision of every manifest that is wanted, while its campaign goes on; how many."""
        done = 0
        while (campaign := await self._store.lease_revision()) is not None:
            done += 1
            with aside.unless_it_breaks("manifests", campaign=campaign.id):
                written = await self._write(campaign, final=False)
                await self._store.note_revision(campaign, _mark(written))
        return done

    async def _write(self, campaign: Campaign, *, final: bool) -> WrittenManifest:
        head = ManifestHead(
            campaign=campaign.id,
            name=campaign.ask.name,
            revision=1 if campaign.manifest is None else campaign.manifest.revision + 1,
            final=final,
            template_versions=[_version(each) for each in campaign.templates],
            input=None
            if campaign.input is None
            else InputOf(source=campaign.input.source, sha256=campaign.input.sha256, records=campaign.records),
            bad=campaign.counts.bad,
        )
        return await self._writer.write(campaign.tenant, head, self._pages(campaign, final=final))

    async def _pages(self, campaign: Campaign, *, final: bool) -> AsyncIterator[Sequence[ManifestRow]]:
        async for page in self._store.ended_rows(campaign):
            delivered = await self._deliver(campaign, page) if final else {}
            yield await asyncio.to_thread(_told, campaign, page, final, delivered)

    async def _deliver(self, campaign: Campaign, page: Sequence[EndedRow]) -> dict[int, str]:
        """Copy the videos to where their owner wants them; the keys of the copies, by place.

        What cannot be copied stays, and manifest and log say so.
        """
        if campaign.ask.output is None:
            return {}
        try:
            pattern = pattern_of(campaign.ask.output, self._settings, campaign.tenant)
        except RequestError as error:  # its operator has allowed it, and does not any more
            _log.warning("rows_not_delivered", campaign=campaign.id, error=str(error)[:300])
            return {}
        ready = [row for row in page if row.outcome is Outcome.SUCCEEDED and "key" in row.result]
        delivered: dict[int, str] = {}
        for first in range(0, len(ready), _COPIES):
            some = ready[first : first + _COPIES]
            keys = await asyncio.gather(*(self._copy(campaign, pattern, row) for row in some))
            delivered |= {row.row.place: key for row, key in zip(some, keys, strict=True) if key is not None}
        return delivered

    async def _copy(self, campaign: Campaign, pattern: OutputPattern, row: EndedRow) -> str | None:
        try:
            key = pattern.key(
                custom_id=row.row.custom_id,
                place=row.row.place,
                job=public_id_of(row.result["job"]),
                campaign=campaign.id,
            )
            await asyncio.to_thread(deliver, self._objects, _video(row.result), key)
        except ObjectsUnavailable as error:
            await asyncio.to_thread(self._objects.size, row.result["key"])  # S3 is away; else it is this copy alone
            _not_delivered(campaign, row, error)
            return None
        except (NotFound, IntegrityError, ObjectsRefused, RequestError) as error:
            _not_delivered(campaign, row, error)
            return None
        return key


def _not_delivered(campaign: Campaign, row: EndedRow, error: Exception) -> None:
    _log.warning("row_not_delivered", campaign=campaign.id, row=row.row.custom_id, error=str(error)[:300])


def _told(campaign: Campaign, page: Sequence[EndedRow], final: bool, delivered: Mapping[int, str]) -> list[ManifestRow]:
    return [row_of(campaign, row, final=final, delivered=delivered.get(row.row.place)) for row in page]


def row_of(campaign: Campaign, row: EndedRow, *, final: bool, delivered: str | None = None) -> ManifestRow:
    """A row as the manifest tells of it."""
    result, body = row.result, jsontext.own(row.row.body)
    version = _of(campaign, result.get("version"))
    params = {**version.defaults, **body["params"]}
    try:
        texts = {name: params[name] for name in _TEXTS if name in params} | texts_of(version, body)
    except RequestError:  # a row that the newest template has no words for
        texts = {}
    seed = result.get("seed", params.get("seed"))
    if seed is None:
        seed = row_seed(campaign.id, row.row.place, variant=body.get("variant", 0), reseed=row.row.reseed)
    job = result.get("job")
    return ManifestRow(
        row=row.row.place,
        line=row.row.line,
        custom_id=row.row.custom_id,
        state=row.outcome or ("cancelled" if final else "waiting"),
        prompt=texts.get("prompt"),
        negative_prompt=texts.get("negative_prompt"),
        seed=int(seed),
        model=result.get("model", params.get("model")),
        revision=result.get("revision"),
        profile=result.get("profile", params.get("profile")),
        params=_others(params, body),
        numerics=result.get("numerics"),
        continuity=result.get("continuity"),
        key=result.get("key"),
        sha256=result.get("sha256"),
        size=result.get("size"),
        delivered=delivered,
        job=None if job is None else public_id_of(job),
        attempts=result.get("attempts", 0),
        gpu_seconds=result.get("gpu_seconds", 0.0),
        incidents=result.get("incidents", ()),
        error=result.get("error"),
        template_version=result.get("version"),
    )


def _others(params: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have no place of their own in a manifest's row."""
    others = {name: params[name] for name in params if name not in _MINE}
    if "image" in body:
        others["image"] = body["image"]
    return others


def _of(campaign: Campaign, number: int | None) -> TemplateVersion:
    """The version of the template that made a row; for one that is not made yet, the newest."""
    newest = campaign.template
    if newest.version == number:  # nearly always
        return newest
    return next((each for each in campaign.templates if each.version == number), newest)


def _version(version: TemplateVersion) -> Version:
    return Version(
        version=version.version,
        prompt=version.prompt,
        negative_prompt=version.negative_prompt,
        defaults=version.defaults,
    )


def _mark(written: WrittenManifest) -> ManifestMark:
    signed = written.signature
    return ManifestMark(
        revision=signed.revision,
        final=signed.final,
        rows=signed.rows,
        sha256=signed.sha256,
        key=written.manifest.key,
        key_id=signed.key_id,
    )


def _video(result: Mapping[str, Any]) -> Artifact:
    return Artifact(key=result["key"], size=result["size"], sha256=result["sha256"], content_type=_MP4)
