"""Campaigns between bodies and the domain: what the client reads is what the API says; forecasts, tags, events' ids."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cogmill_client.models import campaigns as client
from cogmill_client.models import rows as client_rows
from cogmill_client.models.base import Answer
from pydantic import BaseModel, JsonValue

from api.native import campaign_answers as answers
from api.native import campaign_row_answers as row_answers
from api.native.campaign_events import Place
from api.native.campaign_schemas import CreateCampaign, PatchCampaign
from api.native.campaign_translate import forecast_of, version_of, wish_of
from api.wire.bodies import typed
from orchestrator.domain.campaign import CampaignState, Counts
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.outlooks import KeptOutlook, Subject
from tests.support.api_campaigns import a_campaign

NOW = datetime(2026, 11, 29, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "example", "read"),
    [
        (answers.CampaignObject, answers.CAMPAIGN_EXAMPLE, client.Campaign),
        (answers.CampaignPlan, answers.PLAN_EXAMPLE, client_rows.Plan),
        (answers.CampaignUpload, answers.UPLOAD_EXAMPLE, client_rows.Upload),
        (row_answers.RowObject, row_answers.ROW_EXAMPLE, client_rows.Row),
        (row_answers.ManifestSignatureObject, row_answers.SIGNATURE_EXAMPLE, client_rows.ManifestSignature),
    ],
)
def test_the_client_has_every_field_of_an_answer(
    model: type[BaseModel], example: dict[str, JsonValue], read: type[Answer]
) -> None:
    shown = model.model_validate(example).model_dump(mode="json")
    assert shown == example
    assert read.model_validate(example).model_dump() == example
    assert set(read.model_fields) <= set(model.model_fields)


def test_what_a_patch_says_is_told_from_what_it_leaves_out() -> None:
    assert wish_of(typed(PatchCampaign, {}, nulls=True)).said == frozenset()
    fields = {"budget": None, "schedule": None, "template": {"negative_prompt": None}, "order": None, "run_at": None}
    wish = wish_of(typed(PatchCampaign, fields, nulls=True))
    assert wish.said == {"budget", "cron", "time_zone", "negative_prompt", "order", "run_at"}
    assert (wish.order, wish.budget, wish.negative_prompt) == ("arrival", None, None)
    assert wish_of(typed(PatchCampaign, {"template": None}, nulls=True)).said == {"prompt", "negative_prompt"}
    assert wish_of(typed(CreateCampaign, {"approval": "none", "strict": None})).said == {"approval"}


@pytest.mark.parametrize(("tag", "version"), [(None, None), ("*", None), ('"7"', 7), (' W/"7" ', 7), ("7", 7)])
def test_a_tag_is_a_version(tag: str | None, version: int | None) -> None:
    assert version_of(tag) == version


@pytest.mark.parametrize("tag", ["", '"x"', '"1", "2"', '"-1"', '"１"', f'"{"9" * 30}"'])
def test_what_is_no_tag_of_a_campaign_is_refused(tag: str) -> None:
    if tag:
        with pytest.raises(InvalidField):
            version_of(tag)


def test_without_a_forecast_the_rate_of_late_tells_when_a_campaign_is_done() -> None:
    history = tuple((NOW.timestamp() - 3600 + 60 * minute, minute) for minute in range(61))
    campaign = a_campaign(state=CampaignState.RUNNING, counts=Counts(rows=120, succeeded=60), history=history)
    found = forecast_of(campaign, None, NOW)
    assert found is not None
    assert found.high_at is not None
    assert (found.rows_per_hour, found.at_risk) == (pytest.approx(60, rel=0.01), None)
    assert found.likely_at == pytest.approx(NOW.timestamp() + 3600, rel=0.01)
    for behind_s, at_risk in ((-1, True), (1, False)):
        deadline = datetime.fromtimestamp(found.high_at + behind_s, UTC)
        told = forecast_of(replace(campaign, deadline=deadline), None, NOW)
        assert told is not None
        assert told.at_risk is at_risk
    assert forecast_of(replace(campaign, state=CampaignState.PAUSED), None, NOW) is None
    assert forecast_of(replace(campaign, history=()), None, NOW) is None


def test_a_forecast_is_told_as_it_was_made_and_not_for_ever() -> None:
    campaign = a_campaign(state=CampaignState.RUNNING, counts=Counts(rows=120))
    made = KeptOutlook(
        subject=Subject.CAMPAIGN, name=campaign.id, made_at=NOW, low_at=NOW, likely_at=NOW, high_at=None,
        at_risk=True, reason="pool main has no worker", advice="2 more workers of pool main",
    )  # fmt: skip
    told = forecast_of(campaign, made, NOW)
    assert told is not None
    at = int(NOW.timestamp())
    assert (told.low_at, told.high_at, told.made_at, told.rows_per_hour) == (at, None, at, None)
    assert (told.at_risk, told.reason, told.advice) == (True, made.reason, made.advice)
    assert forecast_of(campaign, made, NOW + timedelta(minutes=11)) is None
    assert forecast_of(replace(campaign, state=CampaignState.COMPLETED), made, NOW) is None


def test_an_events_id_says_what_its_hearer_knows() -> None:
    for place in (Place(), Place(3, 7), Place(3, 7, over=True), Place(9, -1)):
        assert Place.parse(str(place)) == place
    for odd in ("", "1", "1.2.3", "1.-2", "a.b", "1.2.end.end", f"{10**11}.0"):
        with pytest.raises(InvalidField):
            Place.parse(odd)
