"""From a row to the video that it asks for: defaults, its parameters, the template's texts, its picture, its seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator.campaigns.asking import prefixes
from orchestrator.campaigns.inputs import own_key
from orchestrator.config import Settings
from orchestrator.domain import jsontext
from orchestrator.domain.campaign import Campaign, Group, Row, TemplateVersion
from orchestrator.domain.campaign_ids import row_seed
from orchestrator.domain.errors import TooLarge
from orchestrator.domain.job import NewJob
from orchestrator.domain.request import ImageBytes, ImageObject, VideoRequest
from orchestrator.domain.template import Template
from orchestrator.domain.texts import check_prompt, check_text
from orchestrator.intake.planning import plan

# What the words of a dialect's request call the picture.
_PICTURE = "input_reference"
# Rows that differ in these alone cost the same.
_NO_KIND = frozenset(("prompt", "negative_prompt", "seed"))
_MOST_KINDS = 10_000

# Pool, model and GPU seconds by the catalogue: what renders have taught comes on top when the plan is priced, whenever
# that is (`quoting.py`).
Priced = tuple[str, str, float]


class Wording(Protocol):
    """A dialect's request for one video: what rows may say of theirs."""

    @property
    def parameters(self) -> frozenset[str]:
        """The names of its fields."""
        ...

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        """The request in a body. Raises a `RequestError`."""
        ...


class Requests:
    """Words rows as requests, and tries them."""

    def __init__(self, settings: Settings, wording: Wording) -> None:
        self._settings = settings
        self._wording = wording

    @property
    def parameters(self) -> frozenset[str]:
        return self._wording.parameters

    def request(self, campaign: Campaign, row: Row, version: TemplateVersion, job_id: UUID) -> VideoRequest:
        """The request of a row. Raises a `RequestError` that names the column."""
        body = jsontext.own(row.body)
        params = {**version.defaults, **body["params"]}
        params |= texts_of(version, body)
        if row.reseed or params.get("seed") is None:
            params["seed"] = row_seed(campaign.id, row.place, variant=body.get("variant", 0), reseed=row.reseed)
        return self._worded(campaign.tenant, params, body.get("image"), job_id)

    def retried(self, tenant: str, row: Row, version: TemplateVersion) -> Priced:
        """What a row that is in costs under this version. Raises a `RequestError`."""
        return _priced(self.planned(tenant, row, version))

    def planned(self, tenant: str, row: Row, version: TemplateVersion) -> NewJob:
        """The job of a row that is in, under this version and at the catalogue's cost. Raises a `RequestError`."""
        body = jsontext.own(row.body)
        wish = {**version.defaults, **body["params"], **texts_of(version, body)}
        return self._tried(tenant, wish | ({_PICTURE: body["image"]} if "image" in body else {}))

    def tried(self, tenant: str, wish: Mapping[str, Any]) -> Priced:
        """What a row with these words costs. Raises a `RequestError`."""
        return _priced(self._tried(tenant, wish))

    def _tried(self, tenant: str, wish: Mapping[str, Any]) -> NewJob:
        params = dict(wish)
        request = self._worded(tenant, params, params.pop(_PICTURE, None), uuid7())
        self._check_picture(request)
        return plan(self._settings, tenant, request, job_id=uuid7(), seed=request.seed or 0)

    def _worded(
        self, tenant: str, params: dict[str, Any], image: Mapping[str, str] | None, job_id: UUID
    ) -> VideoRequest:
        key = None if image is None else image.get("key")
        if image is not None:
            # What lies in our bucket is not spelled in any dialect: any picture stands in its place.
            params[_PICTURE] = image if key is None else {"file_id": "file-" + "0" * 32}
        request = self._wording.request(params, job_id)
        return request if key is None else _with_object(request, self._own(tenant, key))

    def _check_picture(self, request: VideoRequest) -> None:
        """Of a picture within the row its size is known; whatever else it must be is looked at when its turn comes."""
        most = self._settings.fetch.max_image_bytes
        if isinstance(request.image, ImageBytes) and len(request.image.data) > most:
            raise TooLarge(f"the image has {len(request.image.data)} bytes; at most {most} are allowed", param=_PICTURE)

    def _own(self, tenant: str, uri: str) -> ImageObject:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        allowed = prefixes(self._settings.campaigns.s3_inputs, tenant)
        return ImageObject(own_key(bucket, key, own=self._settings.s3.bucket, allowed=allowed, param="image"))


class Trial:
    """Tries each row of an input. Rows that differ in their texts alone are tried once, and then only their texts.

    A picture within a row is looked at in each row.
    """

    def __init__(self, requests: Requests, tenant: str, version: TemplateVersion, *, max_chars: int) -> None:
        self._requests = requests
        self._tenant = tenant
        self._defaults = version.defaults
        self._max_chars = max_chars
        self._known: dict[object, Priced] = {}

    def __call__(self, wish: Mapping[str, Any]) -> Priced:
        """What a row with these words costs. Raises a `RequestError`."""
        prompt, negative = wish.get("prompt"), wish.get("negative_prompt")
        if not isinstance(prompt, str) or not isinstance(negative, str | None) or _is_within(wish.get(_PICTURE)):
            return self._requests.tried(self._tenant, {**self._defaults, **wish})
        rest = tuple([(name, _key(wish[name])) for name in wish if name not in _NO_KIND])
        key = (rest, not prompt, negative is None or not negative.strip())
        priced = self._known.get(key)
        if priced is None:
            priced = self._requests.tried(self._tenant, {**self._defaults, **wish})
            if len(self._known) < _MOST_KINDS:
                self._known[key] = priced
        else:
            if prompt or _PICTURE not in wish:
                check_prompt(prompt, max_chars=self._max_chars)
            if negative:
                check_text(negative, "negative_prompt", max_chars=self._max_chars)
        return priced


def texts_of(version: TemplateVersion, body: Mapping[str, Any]) -> dict[str, str]:
    """The texts that a template makes of a row; none where the row brings its own."""
    variables = body["vars"]
    made = {}
    if version.prompt and "prompt" not in body["params"]:
        made["prompt"] = parsed(version.prompt, "template.prompt").render(variables)
    if version.negative_prompt and "negative_prompt" not in body["params"]:
        made["negative_prompt"] = parsed(version.negative_prompt, "template.negative_prompt").render(variables)
    return made


@lru_cache(maxsize=256)
def parsed(text: str, param: str) -> Template:
    """A template, parsed once."""
    return Template.parse(text, param)


def added(groups: tuple[Group, ...], priced: Mapping[Priced, int]) -> tuple[Group, ...]:
    """Groups with so many more rows of each price."""
    found = {(group.pool, group.model): group for group in groups}
    for (pool, model, cost), rows in priced.items():
        known = found.get((pool, model), Group(pool=pool, model=model, rows=0, gpu_seconds=0.0))
        found[pool, model] = Group(
            pool=pool, model=model, rows=known.rows + rows, gpu_seconds=known.gpu_seconds + rows * cost
        )
    return tuple(found[key] for key in sorted(found))


def _priced(job: NewJob) -> Priced:
    return job.pool, job.spec.model, job.cost


def _with_object(request: VideoRequest, image: ImageObject) -> VideoRequest:
    return replace(request, image=image)


def _is_within(picture: Mapping[str, str] | None) -> bool:
    """Whether all of a picture is in the row."""
    return picture is not None and picture.get("image_url", "")[:5].casefold() == "data:"


def _key(value: object) -> object:
    """A value as part of a key. Of a picture that is yet to be fetched only counts that there is one."""
    if isinstance(value, str | int | float | bool) or value is None:
        return type(value), value  # 1, 1.0 and true are equal, and not the same to a request
    if isinstance(value, Mapping) and "key" not in value and not {"image_url", "file_id"}.isdisjoint(value):
        return sorted(value)[0]
    return json.dumps(value, sort_keys=True)


def overridden(body: str, overrides: Mapping[str, Any]) -> str:
    """A row's body with other parameters: those of the pass that it is in."""
    told = jsontext.own(body)
    return json.dumps({**told, "params": {**told["params"], **overrides}})
