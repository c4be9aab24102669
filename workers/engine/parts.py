"""What an engine works with: a loaded model, and what goes on beside it. Interfaces and the values that cross them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, Incident, RenderSpec, VideoResult
from orchestrator.domain.protocol import Assignment, Stage

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from orchestrator.adapters.s3_urls import Wallet

R = TypeVar("R")


class Decoding(StrEnum):
    """Ways to decode, each needing less memory than the one before, and more time."""

    WHOLE = "whole"
    TILED = "tiled"
    OFFLOADED = "offloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A render between two steps, copied to the CPU: `step` steps are done, under the fingerprint `numerics`.

    `tensors` are all that the next step needs beside the spec: latents, the scheduler's memory, the generator's state,
    embeddings, the picture's latents; `workers/bucket/checkpoints.py` names them.
    """

    step: int
    numerics: str
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a render begins with: a picture, [height, width, 3] RGB of its spec's size, or a snapshot, or neither."""

    picture: NDArray[np.uint8] | None = None
    snapshot: Snapshot | None = None
    continuity: Continuity = Continuity.WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How many tokens the prompt of a spec has, its end mark included, and the negative one; and how many are taken."""

    prompt: int
    negative: int
    limit: int


class Model(Protocol[R]):
    """A loaded model (`CogVideoX`); `R` is its state of one render. Every method holds the GPU until it returns.

    Every method may raise `RenderFailed`, with the code `out_of_memory` when the device has no more.
    """

    @property
    def adapters(self) -> tuple[str, ...]:
        """The LoRA adapters that are in memory."""
        ...

    def numerics(self, spec: RenderSpec) -> str:
        """The fingerprint of what decides this render's bits, rendered here and alone.

        Raises `RenderFailed`, final, for a spec that the model cannot render at all.
        """
        ...

    def read(self, spec: RenderSpec) -> Reading:
        """Count the tokens of its prompts, before anything is cut. Takes no GPU."""
        ...

    def begin(self, spec: RenderSpec, picture: NDArray[np.uint8] | None) -> R:
        """Start a render, at a picture of its size when its spec has an image."""
        ...

    def restore(self, spec: RenderSpec, snapshot: Snapshot) -> R:
        """Go on with a render where a snapshot left it. Raises `RenderFailed` (`checkpoint_unusable`)."""
        ...

    def snapshot(self, render: R) -> Snapshot:
        """A copy of a render as it is, under the fingerprint of its spec; what its past adds is the engine's to say."""
        ...

    def step(self, renders: Sequence[R]) -> list[RenderFailed | None]:
        """Denoise these renders, of one `group`, by one step each; for each what befell it alone, or None.

        What it raises befell all of them, and then none has moved.
        """
        ...

    def preview(self, render: R) -> NDArray[np.uint8]:
        """One frame of what is coming, [height, width, 3] RGB; changes nothing about the render."""
        ...

    def decode(self, render: R, how: Decoding) -> NDArray[np.uint8]:
        """Frames, [frames, height, width, 3] RGB. The render stays as it is, and can be decoded another way."""
        ...

    def drop(self, render: R) -> None:
        """Nobody steps this render any more, however it ended: leave nothing of it behind for another."""
        ...

    def recover(self) -> None:
        """Give back what a failed render held. Raises when the model can render no more."""
        ...


class Watch(Protocol):
    """How whoever finishes a render's frames says how far it is, and asks how the render went."""

    @property
    def gpu_seconds(self) -> float:
        """What the render has cost."""
        ...

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of every stage that is over."""
        ...

    @property
    def numerics(self) -> str:
        """The fingerprint of all its steps, with the marks of `workers/engine/resume.py`."""
        ...

    @property
    def continuity(self) -> Continuity: ...

    @property
    def resumed_at(self) -> int:
        """How many steps an earlier attempt had done."""
        ...

    @property
    def incidents(self) -> tuple[Incident, ...]: ...

    @property
    def prompt_tokens(self) -> int | None:
        """Of the whole prompt."""
        ...

    def befall(self, incident: Incident) -> None:
        """Something befell the render while it was finished."""
        ...

    def enter(self, stage: Stage) -> None:
        """A stage begins. Raises when the render was cancelled meanwhile; let that pass through."""
        ...

    def proceed(self) -> None:
        """The present stage goes on, unless the render was cancelled meanwhile: raises then, as `enter` does.

        Waits while another tenant's render has the finisher. For the stage of finishing.
        """
        ...

    def moved(self) -> None:
        """The present stage goes on. Raises nothing, for callers that must not stop halfway."""
        ...


Finish = Callable[[Assignment, "NDArray[np.uint8]", Watch], VideoResult]
Fetch = Callable[[Assignment, Callable[[], bool]], Material | None]
Show = Callable[[Assignment, "NDArray[np.uint8]"], Artifact]
Save = Callable[[Assignment, Snapshot], Checkpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts(Generic[R]):
    """What an engine works with; all but the model are called on threads beside it, and may raise anything.

    `fetch` gets what a render begins with; None when what it was given said that nobody wants it any more.
    `finish` makes frames into the objects of a claim. `show` adds a preview, one frame, to them; `save` a checkpoint,
    at once or not at all: the engine knows how long it may try again.
    """

    model: Model[R]
    fetch: Fetch
    finish: Finish
    show: Show
    save: Save
    # Where the URLs go by which all of that is done, where the worker has no keys of S3.
    wallet: Wallet | None = None
