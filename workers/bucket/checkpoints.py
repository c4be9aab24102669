"""Renders between two steps, to the bucket and back: one safetensors object each, trusted only when it is whole."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from orchestrator.domain import jsontext
from orchestrator.domain.errors import IntegrityError, NotFound
from orchestrator.domain.job import Checkpoint
from orchestrator.domain.objects import checkpoint_key
from orchestrator.domain.protocol import Assignment
from orchestrator.ports.objects import ClaimObjects
from workers.cogvideox.snapshots import unusable
from workers.engine.parts import Snapshot

if TYPE_CHECKING:
    import torch

_CONTENT_TYPE = "application/octet-stream"

# What the file says of itself, in the metadata that the safetensors format has room for. The tensors' names are those
# of `workers/cogvideox/snapshots.py`.
_FORMAT = "cogmill-checkpoint-1"


def save(objects: ClaimObjects, assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
    """Store a snapshot among the objects of the assignment's claim, once. Raises what `ObjectStore.put` raises."""
    key = checkpoint_key(assignment.job_id, assignment.claim, snapshot.step)
    artifact = objects.put(key, dump(snapshot), _CONTENT_TYPE)
    return Checkpoint(artifact=artifact, step=snapshot.step, numerics=snapshot.numerics)


def load(objects: ClaimObjects, checkpoint: Checkpoint) -> Snapshot:
    """Read a snapshot back, all of it, onto the CPU.

    Raises `RenderFailed` (`checkpoint_unusable`) when there is no such object, or it is not the one that was stored;
    `ObjectsUnavailable` when S3 does not answer.
    """
    key = checkpoint.artifact.key
    try:
        data = objects.get(key)
    except NotFound as error:
        raise unusable(f"{key} is gone") from error
    except IntegrityError as error:
        raise unusable(f"{key} is damaged") from error
    if hashlib.sha256(data).hexdigest() != checkpoint.artifact.sha256:
        raise unusable(f"{key} is not what was stored there")
    snapshot = parse(data)
    if (snapshot.step, snapshot.numerics) != (checkpoint.step, checkpoint.numerics):
        raise unusable(f"{key} is of step {snapshot.step} under {snapshot.numerics}")
    return snapshot


def dump(snapshot: Snapshot) -> bytes:
    """The snapshot as the bytes of one safetensors file."""
    from safetensors.torch import save as as_bytes

    told = {"format": _FORMAT, "step": str(snapshot.step), "numerics": snapshot.numerics}
    return as_bytes({name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}, metadata=told)


def parse(data: bytes) -> Snapshot:
    """`dump` read back. Raises `RenderFailed` (`checkpoint_unusable`) for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        tensors: dict[str, torch.Tensor] = from_bytes(data)
        told = _metadata(data)
        if told.get("format") != _FORMAT:
            raise unusable(f"its format is {told.get('format')!r}, not {_FORMAT!r}")
        return Snapshot(step=int(told["step"]), numerics=told["numerics"], tensors=tensors)
    except (SafetensorError, KeyError, ValueError) as error:
        raise unusable(f"it is no checkpoint: {error}") from error


def _metadata(data: bytes) -> dict[str, str]:
    """The file's `__metadata__`, which safetensors reads from files only: 8 bytes of length, then a JSON header."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = jsontext.parse(data[8 : 8 + length]).get("__metadata__", {})
    return metadata
