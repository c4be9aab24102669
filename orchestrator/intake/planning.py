"""From a request to the job that it becomes: checked, complete, routed to a model and a pool, and priced. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.config import ADAPTER_SCALES, Settings
from orchestrator.domain.catalog import RECIPES, Profile, Size
from orchestrator.domain.delivery import Shape, shape_of
from orchestrator.domain.errors import InvalidField, Unsupported
from orchestrator.domain.job import NewJob, RenderSpec
from orchestrator.domain.request import MAX_PRIORITY, MAX_SEED, VideoRequest, fingerprint
from orchestrator.domain.texts import check_key, check_metadata, check_prompt, check_text
from orchestrator.policy import charge
from orchestrator.policy.prediction import NOTHING_LEARNED, Prediction, Predictions

MAX_STEPS = 200
MAX_GUIDANCE = 20.0
MAX_ATTEMPTS = 10


def plan(
    settings: Settings,
    tenant: str,
    request: VideoRequest,
    *,
    job_id: UUID,
    seed: int,
    predictions: Predictions = NOTHING_LEARNED,
) -> NewJob:
    """The job that a request becomes. Raises a `RequestError` that names the field.

    Its cost is what `predictions` say; without them, the catalogue's word. So is what it is charged.

    A request with a picture goes to the image-to-video sibling of its model. The picture itself is still to come:
    `fit` gives the job its shape, and its object has a place in it only once all else is settled.
    """
    _check_texts(request, settings.api.max_prompt_chars)
    _check_promises(request)
    model = _model(settings, request)
    spec = _spec(settings, model, request, seed)
    priority = request.usual_priority if request.priority is None else request.priority
    _within(priority, "priority", 0, MAX_PRIORITY)
    max_attempts = settings.retry.max_attempts if request.max_attempts is None else request.max_attempts
    _within(max_attempts, "max_attempts", 1, max(MAX_ATTEMPTS, settings.retry.max_attempts))
    pool = pool_for(settings, model, spec)
    cost = cost_of(settings, spec, pool, predictions)
    kept: dict[str, Any] = dict(request.origin)
    if request.metadata:
        kept["metadata"] = dict(request.metadata)
    if request.webhook_url is not None:
        kept["webhook_url"] = request.webhook_url
    return NewJob(
        id=job_id,
        tenant=tenant,
        pool=pool,
        priority=priority,
        spec=spec,
        cost=cost,
        charge=charge_of(cost, spec),
        max_attempts=max_attempts,
        request=kept,
        run_at=_aware(request.run_at, "run_at"),
        deadline=_aware(request.deadline, "deadline"),
        idempotency_key=request.idempotency_key,
        request_hash=None if request.idempotency_key is None else fingerprint(request),
    )


def fit(
    settings: Settings,
    planned: NewJob,
    request: VideoRequest,
    picture: Size,
    *,
    predictions: Predictions = NOTHING_LEARNED,
) -> NewJob:
    """The planned job in the shape that its picture's size, upright, decides.

    Raises `InvalidField` or `Unsupported` where too much of the picture would be lost.
    """
    spec = planned.spec
    shape = _shape(settings, spec.model, request, spec.profile, picture)
    spec = replace(spec, width=shape.width, height=shape.height, num_frames=shape.num_frames, delivery=shape.delivery)
    cost = cost_of(settings, spec, planned.pool, predictions)
    return replace(planned, spec=spec, cost=cost, charge=charge_of(cost, spec))


def cost_of(settings: Settings, spec: RenderSpec, pool: str, predictions: Predictions) -> float:
    """GPU seconds that a render of a configured model is predicted to take in a pool."""
    return prediction_of(settings, spec, pool, predictions).gpu_seconds


def charge_of(cost: float, spec: RenderSpec) -> float | None:
    """What lanes and limits count for a job of this cost; None where that is its cost."""
    return charge.beyond(charge.predicted(cost, spec), cost)


def prediction_of(settings: Settings, spec: RenderSpec, pool: str, predictions: Predictions) -> Prediction:
    """The same with its range."""
    revision = settings.revisions.get(spec.model, "")
    return predictions.of(settings.family_of(spec.model), spec, kind=pool, revision=revision)


def _check_texts(request: VideoRequest, max_chars: int) -> None:
    if request.prompt or request.image is None:  # a picture alone says enough
        check_prompt(request.prompt, max_chars=max_chars)
    check_text(request.negative_prompt or "", "negative_prompt", max_chars=max_chars)
    check_key(request.idempotency_key)
    check_metadata(request.metadata)


def _check_promises(request: VideoRequest) -> None:
    if request.reproducible and request.resume_anywhere:
        raise InvalidField("cannot be any for a reproducible video", param="resume")


def _model(settings: Settings, request: VideoRequest) -> str:
    model = settings.resolve_model(request.model)
    if request.image is None:
        if settings.family_of(model).image_to_video:
            raise InvalidField(f"is required: {model} begins at an image", param="image", code="missing")
        return model
    sibling = settings.image_model_of(model)
    if sibling is None:
        raise Unsupported(f"no image-to-video model is configured beside {model}", param="image")
    return sibling


def _spec(settings: Settings, model: str, request: VideoRequest, seed: int) -> RenderSpec:
    family = settings.family_of(model)
    profile = _profile(settings, model, request)
    shape = _shape(settings, model, request, profile, None)
    steps = family.steps_of(profile) if request.num_inference_steps is None else request.num_inference_steps
    guidance = family.default_guidance if request.guidance_scale is None else request.guidance_scale
    _within(steps, "num_inference_steps", 1, MAX_STEPS)
    _within(guidance, "guidance_scale", 0, MAX_GUIDANCE)
    if request.strict_prompt and guidance <= 1 and (request.negative_prompt or "").strip():
        raise InvalidField("has no effect with a guidance_scale of at most 1", param="negative_prompt")
    _within(seed, "seed", 0, MAX_SEED)
    return RenderSpec(
        model=model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or "",
        width=shape.width,
        height=shape.height,
        num_frames=shape.num_frames,
        fps=family.fps,
        num_inference_steps=steps,
        guidance_scale=float(guidance),
        seed=seed,
        delivery=shape.delivery,
        profile=profile,
        adapter=request.adapter,
        adapter_scale=_adapter_scale(settings, request),
        reproducible=request.reproducible,
        resume_anywhere=request.resume_anywhere,
        strict_prompt=request.strict_prompt,
    )


def _shape(settings: Settings, model: str, request: VideoRequest, profile: Profile, picture: Size | None) -> Shape:
    return shape_of(
        settings.family_of(model),
        size=request.size,
        seconds=request.seconds,
        num_frames=request.num_frames,
        fps=request.fps,
        watermark=request.watermark,
        max_crop=settings.finish.max_crop,
        picture=picture,
        small=RECIPES[profile].small,
    )


def _profile(settings: Settings, model: str, request: VideoRequest) -> Profile:
    if request.profile is not None:
        return request.profile
    rendered = settings.profiles_of(model)
    return request.usual_profile if request.usual_profile in rendered else rendered[0]


def _adapter_scale(settings: Settings, request: VideoRequest) -> float:
    """How strongly the adapter is applied; 1 where there is none."""
    scale = request.adapter_scale
    if scale is None:
        adapter = settings.adapters.get(request.adapter or "")
        return 1.0 if adapter is None else adapter.scale
    if request.adapter is None:
        raise InvalidField("is given without an adapter", param="adapter_scale")
    _within(scale, "adapter_scale", *ADAPTER_SCALES)
    return float(scale)


def pool_for(settings: Settings, model: str, spec: RenderSpec) -> str:
    """The pool that renders this with a configured model. Raises `Unsupported` with the field that it cannot have."""
    adapters = settings.adapters_of(model)
    if spec.adapter is not None and spec.adapter not in adapters:
        known = f"it takes {', '.join(adapters)}" if adapters else "it takes none"
        raise Unsupported(f"{model} has no adapter {spec.adapter[:80]!r}; {known}", param="adapter")
    pool = settings.pool_of(model, spec.profile)
    if pool is None:
        rendered = ", ".join(settings.profiles_of(model))
        raise Unsupported(f"{model} is rendered in {rendered} here, not in {spec.profile}", param="profile")
    return pool


def _aware(moment: datetime | None, param: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidField("must name its time zone", param=param)
    return moment


def _within(value: float, param: str, low: float, high: float) -> None:
    if not low <= value <= high:  # also true of NaN
        raise InvalidField(f"must be between {low:g} and {high}, not {value}", param=param)
