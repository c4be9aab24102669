"""What both dialects can say beyond a prompt: pictures, schedules, keys; and what follows from a video."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from PIL import Image

from orchestrator.capacity.forecasting import Forecasting
from orchestrator.config import Settings
from orchestrator.domain.catalog import Profile
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, Failure, Incident, Job, WorkerRef, public_id
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.protocol import Broke, HandedBack
from orchestrator.domain.rights import Scope
from orchestrator.ports import Progress
from tests.support.api import CLUSTER, POOL, SPRITESHEET, THUMBNAIL, Api, api_settings, serving
from tests.support.builders import prefix_of
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENAI = "/v1/videos"
BIGMODEL = "/api/paas/v4/videos/generations"


def a_png(width: int = 96, height: int = 64, **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), (20, 90, 160)).save(file, "PNG", **options)
    return file.getvalue()


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


PNG = a_png()
SHA256 = hashlib.sha256(PNG).hexdigest()
BASE64 = base64.b64encode(PNG).decode()
DATA_URI = data_uri(PNG)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with an image-to-video model beside the other, and with adapters."""
    plain = api_settings(postgres_server.url(postgres_server.new_database(migrated_template)), s3_server.new_bucket())
    settings = Settings.model_validate(
        plain.model_dump()
        | {
            "models": plain.models
            | {
                "tiny-i2v": {"family": "tiny-5b-i2v", "source": "/models/tiny-5b-i2v"},
                "tiny-1.5-i2v": {"family": "tiny-1.5-5b-i2v", "source": "/models/tiny-1.5-5b-i2v"},
            },
            "pools": plain.pools
            | {"images": {"model": "tiny-i2v", "profiles": ["exact"]}, "long-images": {"model": "tiny-1.5-i2v"}},
            "adapters": {
                "ink": {"source": "/adapters/ink", "models": ["tiny-2b"], "scale": 0.5},
                "walk": {"source": "/adapters/walk", "models": ["tiny-i2v"]},
            },
        }
    )
    async with serving(settings) as app:
        yield app, settings


async def job_of(api: Api, answer: httpx.Response) -> Job:
    assert answer.status_code == 200, answer.text
    return await api.services.jobs.get(api.tenant, answer.json()["id"])


def blamed(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("param") or error["message"].partition(":")[0]


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    "fields",
    [
        {"input_reference": DATA_URI},
        {"input_reference": {"image_url": DATA_URI}},
        {"input_reference": {"image_url": {"url": DATA_URI}, "file_id": None}},
        {"image_reference": json.dumps({"image_url": DATA_URI})},
        {"reference_url": DATA_URI},
        {"extra_body": {"input_reference": BASE64}},
    ],
)
async def test_a_picture_in_json_makes_its_sibling_begin_there(api: Api, fields: dict[str, Any]) -> None:
    job = await job_of(api, await api.http.post(OPENAI, json={"prompt": "sea", "model": "sora-2", **fields}))
    assert (job.spec.model, job.pool) == ("tiny-i2v", "images")
    assert job.spec.image is not None
    assert job.spec.image.sha256 == SHA256


@pytest.mark.parametrize(
    "part",
    [
        {"input_reference": ("upload", PNG, "application/octet-stream")},
        {"input_reference": (None, DATA_URI)},
        {"input_reference[image_url]": (None, DATA_URI)},
    ],
)
async def test_a_picture_in_a_form_makes_its_sibling_begin_there(api: Api, part: dict[str, Any]) -> None:
    job = await job_of(api, await api.http.post(OPENAI, files={"prompt": (None, "sea"), **part}))
    assert job.spec.image is not None
    assert job.spec.image.sha256 == SHA256


async def test_an_uploaded_file_can_be_the_picture_in_json_and_in_a_form(api: Api) -> None:
    files = {"purpose": (None, "vision"), "file": ("boat.png", PNG)}
    file_id = (await api.http.post("/v1/files", files=files)).json()["id"]
    given = await api.http.post(OPENAI, json={"prompt": "sea", "input_reference": {"file_id": file_id}})
    form = {"prompt": (None, "sea"), "input_reference[file_id]": (None, file_id)}
    for answer in (given, await api.http.post(OPENAI, files=form)):
        assert (await job_of(api, answer)).spec.image is not None
    never = await api.http.post(OPENAI, json={"prompt": "sea", "input_reference": {"file_id": "file-0"}})
    assert blamed(never)[0::2] == (400, "input_reference")


@pytest.mark.parametrize("image_url", [DATA_URI, BASE64, [DATA_URI], {"url": DATA_URI}])
async def test_bigmodels_image_url_needs_no_prompt(api: Api, image_url: object) -> None:
    job = await job_of(api, await api.http.post(BIGMODEL, json={"model": "CogVideoX-3", "image_url": image_url}))
    assert (job.spec.model, job.spec.prompt) == ("tiny-i2v", "")
    assert job.spec.image is not None


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"input_reference": "a cat!"}, "invalid_value", "input_reference"),
        ({"input_reference": {"image_url": DATA_URI, "file_id": "file-1"}}, "invalid_value", "input_reference"),
        ({"input_reference": [DATA_URI, DATA_URI]}, "unsupported_value", "input_reference"),
        ({"input_reference": 5}, "invalid_value", "input_reference"),
        ({"image_reference": "{"}, "invalid_json", "image_reference"),
        ({"input_reference": DATA_URI, "reference_url": DATA_URI}, "invalid_value", "reference_url"),
        ({"input_reference": base64.b64encode(b"no picture").decode()}, "image_format", "input_reference"),
        ({"input_reference": DATA_URI[:-40]}, "image_broken", "input_reference"),
        ({"input_reference": "http://127.0.0.1/cat.png"}, None, "input_reference"),
        ({"model": "tiny-i2v"}, "missing_required_parameter", "input_reference"),
    ],
)
async def test_a_picture_that_is_none_is_refused_by_its_field(
    api: Api, fields: dict[str, Any], code: str | None, field: str
) -> None:
    status, told, param = blamed(await api.http.post(OPENAI, json={"prompt": "sea", **fields}))
    assert (status, param) == (400, field)
    assert code is None or told == code
    assert await api.rows() == 0


async def test_a_picture_of_which_too_much_would_be_lost_is_refused_by_the_name_of_its_field(api: Api) -> None:
    uri = data_uri(a_png(400, 1600))
    native = await api.http.post(OPENAI, json={"prompt": "sea", "input_reference": uri})
    bigmodel = await api.http.post(BIGMODEL, json={"model": "cogvideox-3", "image_url": uri})
    assert blamed(native) == (400, "unsupported_value", "input_reference")
    assert blamed(bigmodel) == (400, "1214", "image_url")
    for answer in (native, bigmodel):
        assert "would crop 83% away" in answer.json()["error"]["message"]
    assert await api.rows() == 0


@pytest.mark.parametrize(
    "size", [{}, {"size": "auto"}, {"size": " Auto "}, {"size": "auto", "width": 64, "height": 64}]
)
async def test_without_a_size_or_with_auto_the_picture_decides_by_its_upright_shape(
    api: Api, size: dict[str, Any]
) -> None:
    exif = Image.Exif()
    for orientation, expected in ((1, (64, 96)), (6, (96, 64))):
        exif[274] = orientation
        uri = data_uri(a_png(640, 960, exif=exif))
        body = {"prompt": "sea", "model": "tiny-1.5-i2v", "input_reference": uri, **size}
        spec = (await job_of(api, await api.http.post(OPENAI, json=body))).spec
        assert (spec.width, spec.height) == (spec.delivery.width, spec.delivery.height) == expected


async def test_auto_without_a_picture_is_the_models_first_size(api: Api) -> None:
    spec = (await job_of(api, await api.http.post(OPENAI, json={"prompt": "sea", "size": "auto"}))).spec
    assert (spec.width, spec.height) == (96, 64)


async def test_bigmodels_picture_decides_when_the_size_is_absent(api: Api) -> None:
    body = {"model": "tiny-1.5-i2v", "image_url": data_uri(a_png(640, 960))}
    spec = (await job_of(api, await api.http.post(BIGMODEL, json=body))).spec
    assert (spec.width, spec.height) == (64, 96)
    assert blamed(await api.http.post(BIGMODEL, json=body | {"size": "auto"})) == (400, "1214", "size")


async def test_two_base64_images_fit_into_a_body_and_the_second_is_what_is_refused(api: Api) -> None:
    frame = "A" * 6_900_000
    answer = await api.http.post(BIGMODEL, json={"model": "cogvideox-3", "prompt": "sea", "image_url": [frame, frame]})
    assert blamed(answer) == (400, "1214", "image_url")


async def test_a_body_of_a_million_values_is_refused_before_it_is_parsed(api: Api) -> None:
    body = b'{"prompt": "sea", "metadata": [' + b"{}," * 1_000_000 + b"{}]}"
    answer = await api.http.post(OPENAI, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


# ---------------------------------------------------------------- fields


async def test_everything_that_can_be_asked_for_is_read_back(api: Api) -> None:
    asked = {
        "negative_prompt": "people", "fps": 16, "num_inference_steps": 12, "guidance_scale": 3.5, "seed": 9,
        "profile": "draft", "adapter": "ink", "adapter_scale": 0.75, "reproducible": True, "resume": "exact",
        "watermark": True, "priority": 3, "max_attempts": 2, "metadata": {"campaign": "autumn"},
        "webhook_url": "https://example.org/hook",
    }  # fmt: skip
    times = {"run_at": "2030-01-01T01:00:00+01:00", "deadline": 1893456000}
    await api.services.store.set_limits(api.tenant, {"most_urgent": 3})
    answer = await api.http.post(OPENAI, json={"prompt": "sea", "size": "192x128", "seconds": 2.5, **asked, **times})
    shown = answer.json()
    assert shown | asked == shown
    assert (shown["run_at"], shown["deadline"]) == (1893456000, 1893456000)
    assert (shown["seconds"], shown["size"], shown["num_frames"]) == ("2.5", "192x128", 25)
    again = (await api.http.get(f"{OPENAI}/{shown['id']}")).json()
    assert again.pop("queue_reason").startswith("it is due in ")
    assert shown == {**again, "queue_reason": None}
    delivery = (await job_of(api, answer)).spec.delivery
    assert (delivery.width, delivery.height, delivery.fps, delivery.num_frames) == (192, 128, 16, 40)


async def test_a_form_says_the_same_in_its_own_words(api: Api) -> None:
    parts = {
        "prompt": "sea", "metadata[campaign]": "autumn", "run_at": "1893456000.5", "watermark": "true", "fps": "60",
        "priority": "0", "profile": "fast", "adapter": "ink", "adapter_scale": "-1", "resume": "any",
    }  # fmt: skip
    await api.services.store.set_limits(api.tenant, {"most_urgent": 0})
    answer = await api.http.post(OPENAI, files={name: (None, value) for name, value in parts.items()})
    shown = answer.json()
    assert (shown["metadata"], shown["run_at"], shown["watermark"]) == ({"campaign": "autumn"}, 1893456000, True)
    assert (shown["priority"], shown["fps"], shown["profile"], shown["steps"]) == (0, 60, "fast", 20)
    assert (shown["adapter"], shown["adapter_scale"], shown["resume"]) == ("ink", -1, "any")


async def test_extensions_of_official_clients_reach_the_render_in_their_envelope(api: Api) -> None:
    extra = {"adapter": "ink", "reproducible": True, "profile": "draft"}
    spec = (await job_of(api, await api.http.post(OPENAI, json={"prompt": "sea", "extra_body": extra}))).spec
    assert (spec.adapter, spec.adapter_scale, spec.reproducible) == ("ink", 0.5, True)
    assert (spec.width, spec.height, spec.delivery.width, spec.delivery.height) == (64, 48, 96, 64)


async def test_the_dialect_without_extensions_ignores_them_as_it_ignores_all_unknown_fields(api: Api) -> None:
    body = {"model": "cogvideox-3", "prompt": "sea", "adapter": "ink", "reproducible": True, "resume": "any"}
    spec = (await job_of(api, await api.http.post(BIGMODEL, json=body))).spec
    assert (spec.adapter, spec.reproducible, spec.resume_anywhere) == (None, False, False)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"run_at": "2030-01-01T00:00:00"}, "run_at"),
        ({"run_at": "tomorrow"}, "run_at"),
        ({"deadline": 1e300}, "deadline"),
        ({"deadline": -1}, "deadline"),
        ({"deadline": "9999-12-31T23:59:60Z"}, "deadline"),
        ({"priority": 101}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"metadata": "["}, "metadata"),
        ({"metadata": {"n": 1}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"webhook_url": "ftp://example.org"}, "webhook_url"),
        ({"webhook_url": "http://169.254.169.254/"}, "webhook_url"),
        ({"profile": "best"}, "profile"),
        ({"watermark": "perhaps"}, "watermark"),
        ({"lora": "{}"}, "lora"),
        ({"adapter": "oil"}, "adapter"),
        ({"adapter": "walk"}, "adapter"),
        ({"adapter": "ink", "input_reference": DATA_URI}, "adapter"),
        ({"adapter": "ink", "adapter_scale": 5}, "adapter_scale"),
        ({"adapter_scale": 1}, "adapter_scale"),
        ({"reproducible": True, "resume": "any"}, "resume"),
        ({"resume": "never"}, "resume"),
        ({"profile": "fast", "input_reference": DATA_URI}, "profile"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(api: Api, fields: dict[str, Any], field: str) -> None:
    answer = await api.http.post(OPENAI, json={"prompt": "sea", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert await api.rows() == 0


@pytest.mark.parametrize(
    ("quality", "profile"),
    [(None, Profile.FAST), ("speed", Profile.FAST), ("quality", Profile.EXACT)],
)
async def test_bigmodels_quality_chooses_the_profile(api: Api, quality: str | None, profile: Profile) -> None:
    body = {"model": "cogvideox-3", "prompt": "sea", "quality": quality}
    spec = (await job_of(api, await api.http.post(BIGMODEL, json=body))).spec
    assert (spec.profile, spec.num_inference_steps) == (profile, 20)


async def test_bigmodels_quality_is_refused_by_name_only_when_it_was_named(api: Api) -> None:
    body = {"model": "cogvideox-3", "image_url": DATA_URI}
    assert (await job_of(api, await api.http.post(BIGMODEL, json=body))).spec.profile is Profile.EXACT
    assert blamed(await api.http.post(BIGMODEL, json=body | {"quality": "speed"})) == (400, "1214", "quality")


async def test_bigmodels_sizes_rates_and_mark_are_delivered(api: Api) -> None:
    body = {
        "model": "cogvideox-3", "prompt": "sea", "size": "1440x960", "fps": "16", "duration": "6",
        "watermark_enabled": True,
    }  # fmt: skip
    delivery = (await job_of(api, await api.http.post(BIGMODEL, json=body))).spec.delivery
    assert (delivery.width, delivery.height, delivery.fps, delivery.num_frames) == (1440, 960, 16, 96)
    assert delivery.watermark


# ---------------------------------------------------------------- repeating


async def test_a_finished_video_says_what_befell_it_and_under_which_numerics_it_came_about(api: Api) -> None:
    video_id = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()["id"]
    claim = await api.claim(video_id)
    stored = Artifact(key=f"{prefix_of(claim)}checkpoints/5", size=1, sha256="0" * 64, content_type="application/x")
    checkpoint = Checkpoint(artifact=stored, step=5, numerics="0123456789abcdef")
    await api.dispatching.record_progress(
        [
            Progress(
                job_id=claim.job_id, token=claim.token, stage="preempted", step=7, checkpoint=checkpoint,
                incidents=(Incident.PREEMPTED,),
            )
        ]
    )  # fmt: skip
    going = (await api.http.get(f"{OPENAI}/{video_id}")).json()
    assert (going["stage"], going["incidents"], going["checkpoint_step"]) == ("preempted", ["preempted"], 5)
    assert (going["continuity"], going["resumed_at"], going["numerics"]) == (None, None, None)
    came_about = {
        "numerics": "0123456789abcdef+batched", "continuity": Continuity.RESUMED_INEXACTLY, "resumed_at": 5,
        "incidents": (Incident.PREEMPTED, Incident.TILED_DECODE), "prompt_tokens": 17,
    }  # fmt: skip
    await api.publish(claim, **came_about)
    done = (await api.http.get(f"{OPENAI}/{video_id}")).json()
    told = json.loads(json.dumps(came_about))
    assert done | told == done
    assert done["prompt_cut"] is False


async def test_evictions_are_no_attempts_so_an_owner_never_reads_more_of_them_than_max_attempts(api: Api) -> None:
    async def told() -> tuple[int, int, int]:
        video = (await api.http.get(f"{OPENAI}/{video_id}")).json()
        return video["attempts"], video["max_attempts"], video["claims"]

    video_id = (await api.http.post(OPENAI, json={"prompt": "sea", "max_attempts": 1})).json()["id"]
    for evictions in range(3):
        claim = await api.claim(video_id)
        assert await told() == (1, 1, evictions + 1)
        await api.end(claim, HandedBack(reason="drained"))
        assert await told() == (0, 1, evictions + 1)
    await api.fail(video_id)
    assert await told() == (1, 1, 4)


async def test_a_prompt_that_was_cut_is_told_as_soon_as_it_is_known_and_afterwards(api: Api) -> None:
    created = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()
    assert (created["strict_prompt"], created["prompt_tokens"], created["prompt_cut"]) == (False, None, None)
    claim, befell = await api.claim(created["id"]), (Incident.PROMPT_CUT,)
    await api.dispatching.record_progress(
        [Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=1, incidents=befell)]
    )
    going = (await api.http.get(f"{OPENAI}/{created['id']}")).json()
    assert (going["incidents"], going["prompt_tokens"], going["prompt_cut"]) == (["prompt_cut"], None, True)
    await api.publish(claim, incidents=befell, prompt_tokens=301)
    done = (await api.http.get(f"{OPENAI}/{created['id']}")).json()
    assert (done["incidents"], done["prompt_tokens"], done["prompt_cut"]) == (["prompt_cut"], 301, True)


@pytest.mark.parametrize(("path", "model"), [(OPENAI, "tiny-2b"), (BIGMODEL, "cogvideox-3")])
async def test_a_strict_prompt_is_a_field_of_both_dialects(api: Api, path: str, model: str) -> None:
    body = {"model": model, "prompt": "sea", "strict_prompt": True}
    job = await job_of(api, await api.http.post(path, json=body))
    assert job.spec.strict_prompt
    useless = await api.http.post(path, json=body | {"negative_prompt": "people", "guidance_scale": 1})
    assert blamed(useless)[0::2] == (400, "negative_prompt")
    failure = Failure(code="prompt_too_long", message="prompt: has 301 tokens", retryable=False)
    await api.end(await api.claim(public_id(job.id)), Broke(failure=failure))
    told = (await api.http.get(f"{OPENAI}/{public_id(job.id)}")).json()
    assert told["error"] == {"code": "prompt_too_long", "message": "prompt: has 301 tokens"}
    task = (await api.http.get(f"/api/paas/v4/async-result/{public_id(job.id)}")).json()
    assert task["error"] == {"code": "1261", "message": "prompt_too_long: prompt: has 301 tokens"}


async def test_a_repeated_key_answers_the_first_video_and_another_body_is_an_error(api: Api) -> None:
    async def post(prompt: str, key: str) -> httpx.Response:
        return await api.http.post(OPENAI, json={"prompt": prompt}, headers={"idempotency-key": key})

    first, again = await post("sea", "k"), await post("sea", "k")
    assert first.json() == again.json()
    assert (await post("sea", "other")).json()["id"] != first.json()["id"]
    assert blamed(await post("land", "k")) == (400, "idempotency_key_reused", "Idempotency-Key")
    assert blamed(await post("sea", "x" * 256))[2] == "Idempotency-Key"
    assert await api.rows() == 2


async def test_a_repeated_remix_or_retry_answers_the_first_ones_video(api: Api) -> None:
    source = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()["id"]
    await api.http.post(f"{OPENAI}/{source}/cancel")

    async def post(route: str, key: str | None = "k", **body: str) -> httpx.Response:
        headers = {} if key is None else {"idempotency-key": key}
        return await api.http.post(f"{OPENAI}/{source}/{route}", json=body, headers=headers)

    remixed = await asyncio.gather(*(post("remix", prompt="land") for _ in range(4)))
    retried = await asyncio.gather(*(post("retry", key="l") for _ in range(4)))
    assert [len({answer.json()["id"] for answer in each}) for each in (remixed, retried)] == [1, 1]
    for route, key, body in (("remix", "k", {"prompt": "air"}), ("retry", "k", {}), ("remix", "l", {"prompt": "land"})):
        assert blamed(await post(route, key, **body)) == (400, "idempotency_key_reused", "Idempotency-Key")
    assert blamed(await post("retry", "x" * 256))[2] == "Idempotency-Key"
    assert (await post("retry", None)).json()["id"] != retried[0].json()["id"]


async def test_bigmodels_request_id_is_its_key_and_never_meets_the_other_dialects(api: Api) -> None:
    async def post(prompt: str) -> httpx.Response:
        return await api.http.post(BIGMODEL, json={"model": "cogvideox-3", "prompt": prompt, "request_id": "k"})

    first, again = await post("sea"), await post("sea")
    assert first.json() == again.json()
    assert blamed(await post("land")) == (400, "1231", "request_id")
    other = await api.http.post(OPENAI, json={"prompt": "land"}, headers={"idempotency-key": "k"})
    assert other.status_code == 200
    assert await api.rows() == 2


# ---------------------------------------------------------------- what follows


async def test_a_remix_is_the_same_video_with_another_prompt(api: Api) -> None:
    kept = {"seed": 5, "num_frames": 9, "adapter": "ink", "adapter_scale": 2, "profile": "draft", "resume": "any"}
    asked = {"prompt": "sea", "run_at": 1893456000, **kept}
    first = (await api.http.post(OPENAI, json=asked)).json()
    remix = (await api.http.post(f"{OPENAI}/{first['id']}/remix", json={"prompt": "land"})).json()
    assert (remix["remixed_from_video_id"], remix["prompt"], remix["run_at"]) == (first["id"], "land", None)
    assert remix | kept == remix
    assert blamed(await api.http.post(f"{OPENAI}/{first['id']}/remix", json={"prompt": ""}))[2] == "prompt"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": "none"}', b"not json"])
async def test_a_cancelled_video_is_tried_again_as_a_new_one_whatever_the_bodies_say(api: Api, body: bytes) -> None:
    video_id = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()["id"]
    early = await api.http.post(f"{OPENAI}/{video_id}/retry", content=body)
    assert (early.status_code, early.json()["error"]["code"]) == (400, "wrong_state")
    cancelled = (await api.http.post(f"{OPENAI}/{video_id}/cancel", content=body)).json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")
    again = (await api.http.post(f"{OPENAI}/{video_id}/retry", content=body)).json()
    assert (again["retry_of"], again["status"]) == (video_id, "queued")


async def test_the_stills_of_a_finished_video_are_its_variants(api: Api) -> None:
    video_id = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()["id"]
    await api.publish(await api.claim(video_id), stills=True)
    for variant, data, kind in (
        ("thumbnail", THUMBNAIL, "image/webp"),
        ("spritesheet", SPRITESHEET, "image/jpeg"),
    ):
        answer = await api.http.get(f"{OPENAI}/{video_id}/content", params={"variant": variant})
        assert (answer.content, answer.headers["content-type"]) == (data, kind)


@pytest.mark.parametrize("path", ["edits", "extensions", "characters", "characters/c"])
async def test_what_no_model_can_do_is_said_in_so_many_words(api: Api, path: str) -> None:
    method = "GET" if path.endswith("/c") else "POST"
    answer = await api.http.request(method, f"{OPENAI}/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_value")
    assert "no model here" in answer.json()["error"]["message"]


async def test_models_say_what_they_can_make_under_each_of_their_names(api: Api) -> None:
    listed = {model["id"]: model for model in (await api.http.get("/v1/models")).json()["data"]}
    assert listed.keys() == {"tiny-2b", "tiny-i2v", "tiny-1.5-i2v", "cogvideox-3", "sora-2"}
    plain, image = listed["sora-2"], listed["tiny-i2v"]
    assert (plain["alias_of"], plain["image_model"], plain["image_to_video"]) == ("tiny-2b", "tiny-i2v", False)
    assert (plain["sizes"][0], plain["frames"][0], plain["fps"], plain["max_fps"]) == ("96x64", 9, 8, 60)
    assert (image["image_to_video"], image["frames"], image["frames_rule"]) == (True, [49], "49 frames")
    assert (plain["profiles"], plain["adapters"]) == (["exact", "fast", "draft"], ["ink"])
    assert (image["profiles"], image["adapters"], image["sizes_rule"]) == (["exact"], ["walk"], "96x64")
    assert 0 < plain["typical_seconds"] < image["typical_seconds"]
    assert (await api.http.get("/v1/models/sora-2")).json() == plain
    assert (await api.http.get("/v1/models/no/such")).status_code == 404


async def test_a_video_that_waits_tells_when_it_is_expected_to_start_and_to_end(api: Api) -> None:
    videos = [(await api.http.post(OPENAI, json={"prompt": "sea"})).json() for _ in range(3)]
    assert [video["forecast"] for video in videos] == [None] * 3
    url = f"{OPENAI}/{videos[-1]['id']}"
    assert (await api.http.get(url)).json()["forecast"] is None
    await api.dispatching.beat(CLUSTER, {WorkerRef(name="w0", incarnation="first"): POOL})
    loaded = WorkerLoad(worker="w0", pool=POOL, model="tiny-2b", state=LoadState.LOADED)
    await api.dispatching.record_loads(CLUSTER, [loaded])
    assert await Forecasting(api.settings, api.maintaining, api.services.book).run_once()
    shown = (await api.http.get(url)).json()
    told = shown["forecast"]
    assert (told["reason"], abs(told["made_at"] - time.time()) < 60) == (None, True)
    for moments in (told["starts"], told["ends"]):
        assert told["made_at"] <= moments["low_at"] <= moments["likely_at"] <= moments["high_at"]
    # Two go before it on the only worker.
    took = told["starts"]["likely_at"] - told["made_at"]
    assert took >= 1.5 * shown["predicted_gpu_seconds"]
    assert told["ends"]["likely_at"] - told["starts"]["likely_at"] == pytest.approx(
        shown["predicted_gpu_seconds"], rel=0.2, abs=2
    )
    # Lists are read often, and cost no statement for each.
    assert [video["forecast"] for video in (await api.http.get(OPENAI)).json()["data"]] == [None] * 3
    await api.dispatching.record_loads(CLUSTER, [])


async def test_who_waits_for_a_worker_that_cannot_load_is_told_why_in_every_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.waiting._known, "_fresh_s", 0.0)
    store, load = api.dispatching, WorkerLoad(worker="s-0", pool=POOL, model="tiny-2b", state=LoadState.BROKEN)
    reason = "no worker of pool small has loaded tiny-2b: its files are not whole"
    broken = replace(load, failures=2, reason="its files are not whole", detail="ConfigError: /models/tiny-2b is not")
    await store.record_loads(CLUSTER, [broken])
    created = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()
    task = (await api.http.post(BIGMODEL, json={"model": "cogvideox-3", "prompt": "sea"})).json()
    answers = [created, task]
    answers.append((await api.http.get(f"{OPENAI}/{created['id']}")).json())
    answers.append((await api.http.get(f"/api/paas/v4/async-result/{task['id']}")).json())
    answers.extend((await api.http.get(OPENAI)).json()["data"])
    assert [answer["queue_reason"] for answer in answers] == [reason] * 6

    models = {model["id"]: model for model in (await api.http.get("/v1/models")).json()["data"]}
    told = {name: (model["available"], model["unavailable_reason"]) for name, model in models.items()}
    unavailable, nothing_known = (False, reason), (True, None)
    its_names = ("tiny-2b", "cogvideox-3", "sora-2")
    assert told == {name: unavailable if name in its_names else nothing_known for name in models}
    assert "/models" not in json.dumps([answers, models])  # what workers say of their disks is for operators

    headers = {"authorization": f"Bearer {await api.key(scopes=frozenset(Scope))}"}
    for path in ("/v1/models/sora-2", "/v1/models"):
        told = (await api.http.get(path, headers=headers)).json()
        model = next(one for one in told.get("data", [told]) if one["id"] == "sora-2")
        assert model["unavailable_detail"] == "ConfigError: /models/tiny-2b is not"

    await store.record_loads(CLUSTER, [broken, replace(load, worker="s-1", state=LoadState.LOADED)])
    assert [video["queue_reason"] for video in (await api.http.get(OPENAI)).json()["data"]] == [None] * 2
    asked = [f"{OPENAI}/{created['id']}", f"/api/paas/v4/async-result/{task['id']}"]
    first, second = [(await api.http.get(url)).json()["queue_reason"] for url in asked]
    assert first == "its turn: it is next, when a worker is free"
    assert second.startswith("its turn: before it go 1 of its own tenant's (")
    assert (await api.http.get("/v1/models/tiny-2b")).json()["available"] is True
    await api.dispatching.record_loads(CLUSTER, [])
