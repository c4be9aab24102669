"""The console's forms offer what the product takes: each number in them that has a twin in Python equals it."""

from __future__ import annotations

import re

from api.console.files import STATIC
from api.native.campaign_reviews import MOST_HELD
from orchestrator.campaigns import asking, reviewing
from orchestrator.config.loops import CampaignSettings
from orchestrator.domain import reviews
from orchestrator.domain.request import DEFAULT_PRIORITY, MAX_PRIORITY
from orchestrator.intake import notes
from orchestrator.policy import budget
from orchestrator.tenants import issuing

_FIELD = re.compile(r"<\$\{(?:TextField|AreaField|SelectField)\}(.*?) />", re.DOTALL)
_LABEL = re.compile(r'label=\$\{t\(["`]([\w.]+)|field\("(\w+)"')
_NUMBER = re.compile(r'\b(min|max|maxlength|placeholder)="(\d+)"')

# By file and by the field's label or name.
OFFERED = {
    ("jobs/ActOnAll", "jobs.filter.priority"): {"min": 0, "max": MAX_PRIORITY},
    ("NewVideo", "make.priority"): {"min": 0, "max": MAX_PRIORITY, "placeholder": DEFAULT_PRIORITY},
    ("NewVideo", "make.seed"): {"min": 0},
    ("NewCampaign", "priority"): {"min": 0, "max": MAX_PRIORITY, "placeholder": CampaignSettings().priority},
    ("NewCampaign", "variants"): {"min": 1, "max": asking.MAX_VARIANTS, "placeholder": 1},
    ("NewCampaign", "sample"): {"min": 0, "max": asking.MAX_SAMPLE, "placeholder": CampaignSettings().sample},
    ("NewCampaign", "budget"): {"min": 0},
    ("NewCampaign", "max_running"): {"min": 1},
    ("make/Look", "num_inference_steps"): {"min": 1},
    ("make/Look", "guidance_scale"): {"min": 0},
    ("tenants/Budgets", "tenants.budget.amount"): {"min": 0},
    ("tenants/Budgets", "tenants.budget."): {"min": budget.PERCENTS[0], "max": budget.PERCENTS[1]},
    ("tenants/Limits", "tenants.limit.value"): {"min": 0},
    ("tenants/Shares", "tenants.guaranteed"): {"min": 0},
    ("tenants/Shares", "tenants.cap"): {"min": 0},
    ("Tenant", "tenants.weight"): {"min": 0},
    ("Tenants", "tenants.weight"): {"min": 0},
    ("tenants/NewKey", "tenants.key.name"): {"maxlength": issuing.MAX_NAME_CHARS},
    ("jobs/SavedFilters", "jobs.saved.name"): {"maxlength": notes.MAX_NAME_CHARS},
    ("review/Reject", "review.reason"): {"maxlength": reviews.MAX_REASON},
    ("parts/Notes", "notes.label"): {"maxlength": notes.MAX_BODY_CHARS},
}


def test_every_number_in_a_form_is_the_products_own() -> None:
    found: dict[tuple[str, str], dict[str, int]] = {}
    numbers = 0
    for path in (*STATIC.glob("pages/**/*.js"), *STATIC.glob("parts/*.js")):
        where = path.relative_to(STATIC).with_suffix("").as_posix().removeprefix("pages/")
        text = path.read_text()
        numbers += len(_NUMBER.findall(text))
        for field in _FIELD.findall(text):
            said = {name: int(value) for name, value in _NUMBER.findall(field)}
            if said:
                label = _LABEL.search(field)
                assert label is not None, field
                found[where, label[1] or label[2]] = said
    assert found == OFFERED
    assert sum(map(len, found.values())) == numbers, "a number stands in no field that this test knows"


def constant(path: str, name: str) -> list[int]:
    """The numbers of a constant of the console."""
    line = re.search(rf"^const {name} = (.*);$", (STATIC / path).read_text(), re.MULTILINE)
    assert line is not None, f"{path} has no {name}"
    return [int(number.replace("_", "")) for number in re.findall(r"\d[\d_]*", line[1])]


def test_the_desk_asks_for_as_much_as_it_may_and_as_often_as_it_must() -> None:
    desk = "pages/review/desk.js"
    assert constant(desk, "HELD")[0] <= constant(desk, "PAGE")[0] == MOST_HELD
    assert 2 * constant(desk, "RENEW_MS")[0] <= 1000 * reviewing.HOLD_S, "one that fails is not made good for"
    assert constant(desk, "COUNT_MS")[0] >= 1000 * reviewing.COUNT_S, "what is told is the same"
    stars = re.search(r"\[([\d, ]+)\]\.map\(\(n\) => \(\{\s*keys", (STATIC / "pages/Review.js").read_text())
    assert stars is not None
    assert [int(star) for star in stars[1].split(",")] == list(range(reviews.RATINGS[0], reviews.RATINGS[1] + 1))


def test_a_key_overlaps_for_no_longer_than_it_may() -> None:
    assert max(constant("pages/tenants/Keys.js", "OVERLAPS")) <= issuing.MAX_OVERLAP_S
