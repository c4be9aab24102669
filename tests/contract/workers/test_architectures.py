"""A model family is an entry in two registries: the catalogue's, and that of the architectures that load it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.catalog import FAMILIES, TINY_2B, ModelFamily
from orchestrator.domain.job import Incident
from orchestrator.domain.protocol import Rendered
from orchestrator.ports import WorkerPlan
from tests.support.models import Checkpoint
from tests.support.workers import ScriptedModel, a_plan, an_actor, assigned, ended
from workers.architectures import ARCHITECTURES, Meet
from workers.assembly import model_of
from workers.cogvideox.model import CogVideoX

CPU = torch.device("cpu")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_of_the_catalogue_has_something_that_loads_it(family: ModelFamily) -> None:
    assert family.architecture in ARCHITECTURES


def test_a_family_that_says_nothing_is_a_cogvideox(tiny_checkpoint: Checkpoint) -> None:
    assert isinstance(model_of(a_plan("tiny-2b", tiny_checkpoint("tiny-2b")), CPU), CogVideoX)


async def test_a_worker_renders_with_what_its_familys_architecture_builds(
    monkeypatch: pytest.MonkeyPatch, s3_settings: S3Settings, objects: S3Objects
) -> None:
    asked: list[tuple[WorkerPlan, torch.device, Meet | None]] = []
    model = ScriptedModel(grey=0)

    def build(plan: WorkerPlan, device: torch.device, meet: Meet | None = None) -> ScriptedModel:
        asked.append((plan, device, meet))
        return model

    monkeypatch.setitem(ARCHITECTURES, "greyscale", build)
    monkeypatch.setitem(FAMILIES, "grey-1", replace(TINY_2B, name="grey-1", architecture="greyscale"))
    plan = a_plan("grey-1", "there is no such checkpoint", s3_settings)
    with an_actor(plan) as actor:
        assignment = await assigned(actor, num_frames=9)
        end = (await ended(actor, assignment.token)).end
    assert isinstance(end, Rendered), end
    assert end.result.incidents == (Incident.ALL_BLACK,), "which that model makes"
    assert objects.get(end.result.video.key)[4:8] == b"ftyp"
    assert [render.spec for render in model.begun] == [assignment.spec]
    ((given, _, meet),) = asked
    assert (given, meet) == (plan, None)
