"""The manifest: one text for equal content, CSV that does not run, names that do not collide, signatures that hold."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaigns.signing import Keys, Signer, thumbprint
from orchestrator.domain import objects
from orchestrator.domain.canonical import number, read, text_of
from orchestrator.domain.delivering import OutputPattern, step_of
from orchestrator.domain.errors import IntegrityError, InvalidField, RequestError, Unsupported
from orchestrator.domain.job import Incident
from orchestrator.domain.manifest import (
    NAMES,
    InputOf,
    ManifestHead,
    ManifestRow,
    ManifestSignature,
    Tally,
    TemplateVersion,
    flags_of,
    header_of,
    line_of,
    links_of,
    row_of,
)
from orchestrator.domain.spreadsheet import COLUMNS, cell, csv_of

FULL = ManifestRow(
    row=3,
    line=4,
    custom_id="mug-3",
    state="succeeded",
    prompt='A "mug" on Łódź\'s beach\n\u2028 🎬',
    negative_prompt="blurry",
    seed=2**63,
    model="cogvideox-5b",
    revision="8d6ea3f8",
    profile="exact",
    params={"size": "720x480", "guidance_scale": 6.0, "steps": 50, "z": [1.5, None, True], "a": {"é": 1e-5}},
    numerics="0123456789abcdef",
    continuity="whole",
    key="videos/00/1/video.mp4",
    sha256="a" * 64,
    size=123,
    delivered="exports/acme/mug-3.mp4",
    job="video_" + "0" * 32,
    attempts=2,
    gpu_seconds=12.3456789,
    incidents=("preempted", "frozen"),
    template_version=1,
)
BARE = ManifestRow(row=0, custom_id="a", state="waiting")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


# ------------------------------------------------------------ one text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6.0, "6"), (-0.0, "0"), (-1e-9, "0"), (0.1 + 0.2, "0.3"), (12.3456789, "12.345679"), (1e-6, "0.000001"),
        (2.5e-5, "0.000025"), (0.0001, "0.0001"), (1e16, "10000000000000000"), (1e21, "1e+21"), (1.5e300, "1.5e+300"),
        (0.0000005, "0"), (0.0000015, "0.000002"), (float("nan"), "null"), (float("-inf"), "null"),
    ],
)  # fmt: skip
def test_a_number_has_one_text(value: float, text: str) -> None:
    assert number(value) == text
    assert text == "null" or number(float(text)) == text


def test_names_follow_each_other_as_rfc_8785_has_them() -> None:
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert text_of(names) == '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'


@given(JSON)
def test_a_text_reads_back_as_what_makes_it_again(value: Any) -> None:
    text = text_of(value)
    assert text_of(read(text)) == text
    assert text_of(json.loads(json.dumps(json.loads(text)))) == text, "whoever carried it as JSON meanwhile"
    assert "\n" not in text


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":1}', "1.0", "1.23456789", "1e2", '"\\u0041"', "NaN", " 1", '["\\/"]',
        "-0.0", "Infinity", "[" * 99 + "]" * 99, '{"\ufb33":3,"\U0001f600":5}', "",
    ],
)  # fmt: skip
def test_another_text_of_a_value_is_not_canonical(text: str) -> None:
    with pytest.raises(ValueError, match=r"canonical|JSON has no|nested|Expecting"):
        read(text)


# ------------------------------------------------------------ lines


@pytest.mark.parametrize("row", [FULL, BARE, replace(FULL, error={"message": "no", "code": "nan_frames"}, key=None)])
def test_a_line_is_the_canonical_text_of_its_row(row: ManifestRow) -> None:
    line = line_of(row)
    fields = {name: getattr(row, name) for name in NAMES}
    assert line == text_of(fields)
    read(line)
    again = row_of(json.loads(line))
    assert line_of(again) == line


def test_a_row_with_other_names_is_none_of_this_version() -> None:
    fields = json.loads(line_of(BARE))
    for wrong in (fields | {"more": 1}, {}, {name: value for name, value in fields.items() if name != "row"}):
        with pytest.raises(IntegrityError):
            row_of(wrong)


def test_the_header_tells_what_the_rows_are_and_nothing_of_the_tenant_or_of_time() -> None:
    head = ManifestHead(
        campaign="campaign_1",
        name="Mugs",
        revision=2,
        final=True,
        bad=1,
        template_versions=[TemplateVersion(version=1, prompt="A {thing}", defaults={"seconds": 6})],
        input=InputOf(source="file-1", sha256="b" * 64, records=3),
    )
    tally = Tally()
    for row in (FULL, BARE):
        tally.add(row, row.flags)
    assert json.loads(header_of(head, tally.counts(head.bad))) == {
        "object": "campaign.manifest",
        "version": 1,
        "campaign": "campaign_1",
        "name": "Mugs",
        "revision": 2,
        "final": True,
        "template_versions": [
            {"version": 1, "prompt": "A {thing}", "negative_prompt": None, "defaults": {"seconds": 6}}
        ],
        "rows": 2,
        "counts": {"rows": 2, "bad": 1, "flagged": 1, "delivered": 1, "succeeded": 1, "waiting": 1},
        "input": {"source": "file-1", "sha256": "b" * 64, "records": 3},
    }
    read(header_of(ManifestHead(campaign="c", revision=1, final=False), Tally().counts(0)))


def test_flags_are_the_incidents_that_somebody_should_look_at() -> None:
    assert flags_of(()) == ()
    assert flags_of([Incident.FROZEN, Incident.PREEMPTED, Incident.ALL_BLACK]) == ("all_black", "frozen")
    assert flags_of(["non_finite", "of_tomorrow"]) == ("non_finite",)
    assert flags_of(set(Incident)) == ("all_black", "frozen", "non_finite")


def test_links_are_of_rows_with_a_video() -> None:
    def presign(row: ManifestRow) -> tuple[str, int]:
        return f"https://s3.example/{row.key}", 1_800_000_000

    (link,) = links_of([BARE, FULL], presign)
    assert json.loads(link) == {
        "custom_id": "mug-3",
        "url": "https://s3.example/videos/00/1/video.mp4",
        "sha256": "a" * 64,
        "size": 123,
        "expires_at": 1_800_000_000,
    }


# ------------------------------------------------------------ CSV


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x", "  =1", "\ufeff=1",
        "\xa0@x", "\tplain",
    ],
)  # fmt: skip
def test_a_text_that_would_run_is_a_text(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a=1", "a=1"), (-5, "-5"), (-5.5, "-5.5"), (None, ""), (True, "true"), ("", ""), ({"a": 1}, '{"a":1}')],
)
def test_what_does_not_run_is_left_alone(value: Any, shown: str) -> None:
    assert cell(value) == shown


def test_csv_is_made_of_the_lines() -> None:
    failed = replace(BARE, custom_id="=HYPERLINK()", row=1, error={"code": "c", "message": 'a "b",\nc'})
    head = header_of(ManifestHead(campaign="c", revision=1, final=True), Tally().counts(0))
    text = "".join(csv_of([f"{line}\n" for line in (head, line_of(failed), line_of(FULL))]))
    assert text.splitlines()[0].split(",") == list(COLUMNS)
    assert set(COLUMNS) - set(NAMES) == {"error_code", "error_message"}
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert (first["custom_id"], first["error_code"], first["error_message"]) == ("'=HYPERLINK()", "c", 'a "b",\nc')
    assert (second["prompt"], second["gpu_seconds"], second["seed"]) == (FULL.prompt, "12.345679", str(2**63))
    assert (second["incidents"], second["flags"]) == ("preempted frozen", "frozen")
    assert json.loads(second["params"]) == FULL.params


# ------------------------------------------------------------ names of deliveries

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    [".", "..", "%2E", "a/b", "a%2Fb", "a-1", "a", "1"]
)
PATTERNS = [
    "{custom_id}.mp4", "{custom_id}-{place}.mp4", "{place}-{custom_id}.mp4", "{place}/{custom_id}/{job}.mp4",
    "{custom_id}_0{place}.mp4", "{job}-{custom_id}-{place}.mp4", "{campaign}/{custom_id}",
]  # fmt: skip


def parsed(name: str, *allowed: str) -> OutputPattern:
    return OutputPattern.parse(f"s3://films/{name}", bucket="films", allowed=allowed or ["exports/acme/"])


def key_of(pattern: OutputPattern, custom_id: str, place: int = 7) -> str:
    return pattern.key(custom_id=custom_id, place=place, job=f"video_{place:032x}", campaign="campaign_1")


@given(st.sampled_from(PATTERNS), st.lists(IDS, unique=True, min_size=2, max_size=5), st.data())
def test_no_two_rows_have_one_name_and_none_leaves_its_prefix(pattern: str, ids: list[str], data: Any) -> None:
    places = data.draw(st.lists(st.integers(0, 2000), unique=True, min_size=len(ids), max_size=len(ids)))
    output = parsed(f"exports/acme/{pattern}")
    keys = [key_of(output, *each) for each in zip(ids, places, strict=True)]
    assert all(one != other for one, other in combinations(keys, 2))
    for key in keys:
        steps = key.split("/")
        assert len(steps) == 3 + pattern.count("/")
        assert key.startswith("exports/acme/")
        assert not {"", ".", ".."} & set(steps)


def test_names_stay_readable() -> None:
    assert step_of("mug-3_v1.2~x") == "mug-3_v1.2~x"
    assert step_of("чашка 茶碗") == "чашка%20茶碗"
    assert step_of("a/b?c#d%\n") == "a%2Fb%3Fc%23d%25%0A"
    assert step_of("..") == "%2E%2E"
    assert key_of(parsed("exports/acme/{campaign}/{custom_id}.mp4"), "a") == "exports/acme/campaign_1/a.mp4"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("https://films/exports/acme/{custom_id}", "must be s3://"),
        ("s3://films", "must be s3://"),
        ("s3://others/exports/acme/{custom_id}", "own bucket, films"),
        ("s3://films/exports/acme/all.mp4", "{custom_id}, {place} or {job}"),
        ("s3://films/exports/acme/{campaign}.mp4", "{custom_id}, {place} or {job}"),
        ("s3://films/exports/acme/{tenant}-{place}", "has {tenant}"),
        ("s3://films/exports/acme/{custom_id.x}", "has {custom_id.x}"),
        ("s3://films/exports/acme/{{custom_id}}", "may have letters"),
        ("s3://films/exports/acme/{custom_id}{place}", "between two names"),
        ("s3://films/exports/acme/{custom_id}0{place}", "between two names"),
        ("s3://films/exports/acme/{place}-{place}", "twice"),
        ("s3://films/exports/acme/../globex/{place}", "dots alone"),
        ("s3://films/exports/acme//{place}", "no empty step"),
        ("s3://films/exports/acme/{place}/", "no empty step"),
        ("s3://films//exports/acme/{place}", "no empty step"),
        ("s3://films/exports/acme/a b/{place}", "may have letters"),
        ("s3://films/exports/acme%2F{place}", "may have letters"),
        ("s3://films/exports/globex/{place}", "must lie below exports/acme/"),
        ("s3://films/exports/acmeglobex/{place}", "must lie below exports/acme/"),
        ("s3://films/exports/acme{place}", "must lie below exports/acme/"),
        ("s3://films/exports/{place}/acme/x", "must lie below exports/acme/"),
        *((f"s3://films/{prefix}{{place}}", "must lie below") for prefix in objects.OWN),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_by_name(pattern: str, says: str) -> None:
    for allowed in (["exports/acme/"], ["exports/acme"]):
        with pytest.raises(RequestError, match=re.escape(says)) as refused:
            OutputPattern.parse(pattern, bucket="films", allowed=allowed)
        assert refused.value.param == "output"


def test_our_own_prefixes_are_refused_whatever_is_allowed() -> None:
    for prefix in objects.OWN:
        with pytest.raises(InvalidField, match="must lie below"):
            parsed(f"{prefix}{{place}}.mp4", prefix)
    for none in ([], [""], ["/"]):
        with pytest.raises(Unsupported, match="allows no prefix"):
            OutputPattern.parse("s3://films/exports/{place}", bucket="films", allowed=none)


def test_a_name_that_s3_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidField, match="1024 bytes for row 7"):
        key_of(parsed("exports/acme/{custom_id}"), "?" * 400)


def test_every_key_of_ours_lies_below_a_prefix_of_ours() -> None:
    keys = [value for name, value in vars(objects).items() if name.isupper() and isinstance(value, str)]
    assert set(keys) < set(objects.OWN)
    assert objects.manifest_key("acme", "campaign_1", 2, "ab" * 32).startswith(objects.OWN)
    assert "acme" not in objects.manifest_prefix("acme", "campaign_1")


# ------------------------------------------------------------ signatures


def signed(master_key: str = "the master key", **changes: Any) -> ManifestSignature:
    facts = {"campaign": "campaign_1", "revision": 3, "final": True, "rows": 2, "sha256": "c" * 64} | changes
    return Signer(master_key).sign(**facts)


def test_the_thumbprint_is_the_one_of_rfc_8037() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_what_is_signed_is_the_statement_and_the_same_each_time() -> None:
    one = signed()
    assert one == signed()
    assert (
        one.statement
        == (
            f'{{"campaign":"campaign_1","final":true,"key_id":"{one.key_id}","revision":3,"rows":2,"sha256":"{one.sha256}"}}'
        ).encode()
    )
    assert one.key_id == "SsQ762dnz8vdswZViUo4sHIbEkov5l7wEqjf5ufF9u4", "derived anew, old manifests would be nobody's"
    assert ManifestSignature.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    "change",
    [{"campaign": "campaign_2"}, {"revision": 4}, {"final": False}, {"rows": 3}, {"sha256": "d" * 64},
     {"signature": ""}, {"signature": "no base 64: ß"}],
)  # fmt: skip
def test_another_statement_is_not_signed(change: dict[str, Any]) -> None:
    keys = Keys.of(Signer("the master key").jwks)
    keys.verify(signed())
    with pytest.raises(IntegrityError, match="not of this manifest"):
        keys.verify(replace(signed(), **change))


def test_a_new_master_key_is_a_new_key_and_what_was_signed_before_needs_the_old_one() -> None:
    old, new = Signer("the master key"), Signer("another master key")
    assert old.key_id != new.key_id
    with pytest.raises(IntegrityError, match=f"{old.key_id}; the key set has {new.key_id}"):
        Keys.of(new.jwks).verify(signed())
    Keys.of({"keys": [*new.jwks["keys"], *old.jwks["keys"], {"kty": "RSA"}, 5]}).verify(signed())
    lying = {**new.jwks["keys"][0], "kid": old.key_id}
    with pytest.raises(IntegrityError, match="the key set has"):
        Keys.of({"keys": [lying]}).verify(signed())


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"keys":[]}', '{"keys":[{"kty":"RSA"}]}', '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}',
     '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"ß"}]}'],
)  # fmt: skip
def test_what_is_no_key_set_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError, match="the key set"):
        Keys.parse(text)


@pytest.mark.parametrize(
    "change",
    [{"object": "x"}, {"algorithm": "none"}, {"rows": "2"}, {"final": 1}, {"key_id": None}, {"revision": True}],
)
def test_what_is_no_signature_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        ManifestSignature.from_dict(signed().to_dict() | change)
    with pytest.raises(IntegrityError):
        ManifestSignature.from_dict([])
