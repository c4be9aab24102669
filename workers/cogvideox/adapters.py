"""LoRA adapters: loaded when a render asks, switched between renders, kept in a bounded cache.

peft wraps each linear layer that an adapter changes. The wrappers are in the transformer only while an adapter is
active: for a render without one it holds its own layers, the same objects as when it was loaded, so neither its bits
nor its speed nor what was compiled of it can tell that there ever was an adapter.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from peft.tuners.lora import Linear
from peft.utils import CONFIG_NAME

from orchestrator.config import AdapterSettings
from orchestrator.domain.errors import CogmillError, ConfigError, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import RenderSpec
from orchestrator.telemetry import logs
from workers.cogvideox import lora
from workers.cogvideox.lora import Change

if TYPE_CHECKING:
    from diffusers import CogVideoXImageToVideoPipeline, CogVideoXPipeline

Number = TypeVar("Number", int, float)

# Another word whenever other bits are made of the same files, so that no render is resumed in between.
_READING = b"alpha is obeyed"

_log = logs.get("adapters")


@dataclass(frozen=True, slots=True)
class _File:
    """An adapter on this node; `revision` is 16 hex digits of the hash of what it is loaded from."""

    path: Path
    revision: str


class Adapters:
    """The adapters of one loaded model: at most `capacity` in memory, at most one active.

    `resolve` gives the local path of a source, fetching it where it must. `revision` may be called from any thread, and
    ahead, so that the GPU need not wait for a fetch; all else from the one that steps the model.
    """

    def __init__(
        self,
        pipeline: CogVideoXPipeline | CogVideoXImageToVideoPipeline,
        configured: Mapping[str, AdapterSettings],
        resolve: Callable[[str], Path],
        capacity: int,
    ) -> None:
        self._pipeline = pipeline
        self._configured = configured
        self._resolve = resolve
        self._capacity = capacity
        self._linears = {
            name: module for name, module in pipeline.transformer.named_modules() if isinstance(module, torch.nn.Linear)
        }
        self._wrappers: dict[str, Linear] = {}
        self._slots: OrderedDict[str, str] = OrderedDict()
        self._numbers = itertools.count()
        self._active: tuple[str, float] | None = None
        self._files: dict[str, _File] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the adapters in memory, the least recently used first."""
        return tuple(self._slots)

    def revision(self, name: str) -> str:
        """16 hex digits of the hash of an adapter's files, fetched if they are not here.

        Raises `RenderFailed`: `adapter_unusable` when it cannot be used, `adapter_unavailable` when it cannot be had.
        """
        return self._file(name).revision

    # Parameters that are made in inference mode could not be touched outside it.
    @torch.inference_mode(False)
    def use(self, spec: RenderSpec) -> None:
        """Make the spec's adapter, or none, the active one; costs nothing when it is. Raises as `revision` does.

        After an error none is active.
        """
        wanted = None if spec.adapter is None else (spec.adapter, spec.adapter_scale)
        if wanted == self._active:
            return
        self._unwrap()
        if wanted is not None:
            self._activate(*wanted)

    def _activate(self, name: str, scale: float) -> None:
        if name not in self._slots:
            self._slots[name] = self._load(name)
        self._slots.move_to_end(name)
        self._wrap()
        self._pipeline.transformer.set_adapters([self._slots[name]], [scale])
        self._active = (name, scale)
        while len(self._slots) > self._capacity:
            oldest, slot = self._slots.popitem(last=False)
            self._remove(slot)
            _log.info("adapter_unloaded", adapter=oldest)

    def _load(self, name: str) -> str:
        """Put an adapter into the wrappers, and say under which name. On an error nothing of it stays."""
        file = self._file(name)
        if _hash(name, file.path) != file.revision:
            raise _unusable(name, f"{file.path} changed since this worker first read it; publish it as another adapter")
        try:
            changes = lora.read(file.path, self._linears)
        except ValueError as error:
            raise _unusable(name, f"{file.path} {error}") from error
        slot = f"adapter{next(self._numbers)}"  # peft makes it the name of a module, which ours need not be fit for
        self._wrap()
        try:
            weights, settings = _state(changes)
            self._pipeline.load_lora_into_transformer(
                weights, self._pipeline.transformer, adapter_name=slot, metadata=settings, _pipeline=self._pipeline
            )
            self._find_wrappers()
            found = {layer for layer, wrapper in self._wrappers.items() if slot in wrapper.lora_A}
            if found != changes.keys():
                raise ValueError(f"diffusers does not take its weights for {min(found ^ changes.keys())}")
            # Asked of what was loaded: the model's numbers may be narrower than the file's.
            if broken := [layer for layer in sorted(found) if not _is_finite(self._wrappers[layer], slot)]:
                raise ValueError(f"its weights for {broken[0]} are not finite numbers")
        except Exception as error:
            self._find_wrappers()
            self._remove(slot)
            self._unwrap()
            if isinstance(error, torch.OutOfMemoryError):
                raise RenderFailed(FailureCode.OUT_OF_MEMORY, f"there is no room for the adapter {name!r}") from None
            raise _unusable(name, f"{file.path}: {error}") from error
        _log.info("adapter_loaded", adapter=name, revision=file.revision, layers=len(found))
        return slot

    def _remove(self, slot: str) -> None:
        """Take an adapter out of all wrappers, and give up those that hold no other. They must be in place."""
        transformer = self._pipeline.transformer
        if slot in getattr(transformer, "peft_config", ()):
            transformer.delete_adapters(slot)
        for layer, wrapper in list(self._wrappers.items()):
            if not wrapper.lora_A:
                transformer.set_submodule(layer, self._linears[layer])
                del self._wrappers[layer]

    def _find_wrappers(self) -> None:
        for layer, module in self._pipeline.transformer.named_modules():
            if isinstance(module, Linear):
                # New modules are born training, and an adapter that was trained with dropout would roll its dice.
                module.train(False)
                self._wrappers[layer] = module

    def _wrap(self) -> None:
        for layer, wrapper in self._wrappers.items():
            self._pipeline.transformer.set_submodule(layer, wrapper)

    def _unwrap(self) -> None:
        for layer in self._wrappers:
            self._pipeline.transformer.set_submodule(layer, self._linears[layer])
        self._active = None

    def _file(self, name: str) -> _File:
        file = self._files.get(name)
        if file is None:
            path = self._path(name)
            # Whoever reads it first decides: a fingerprint that was given out must stay true.
            file = self._files.setdefault(name, _File(path, _hash(name, path)))
        return file

    def _path(self, name: str) -> Path:
        settings = self._configured.get(name)
        if settings is None:
            raise _unusable(name, "this worker was started without it")
        try:
            path = self._resolve(settings.source)
        except CogmillError as error:
            raise _unavailable(name, str(error)) from error
        from workers.modelfiles import adapter_file  # and S3's client with it, which a bare GPU machine lacks

        try:
            return adapter_file(path)
        except ConfigError as error:
            raise _unusable(name, str(error)) from None


def _state(changes: Mapping[str, Change]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What diffusers loads: weights under its own names, and a LoraConfig that gives each layer its rank and alpha."""
    weights = {}
    for layer, change in changes.items():
        weights[f"transformer.{layer}.lora_A.weight"] = change.down
        weights[f"transformer.{layer}.lora_B.weight"] = change.up
    rank, ranks = _usual({layer: change.rank for layer, change in changes.items()})
    alpha, alphas = _usual({layer: change.scale * change.rank for layer, change in changes.items()})
    config = {"r": rank, "lora_alpha": alpha, "rank_pattern": ranks, "alpha_pattern": alphas}
    config["target_modules"] = list(changes)
    return weights, {f"transformer.{name}": value for name, value in config.items()}


def _usual(numbers: Mapping[str, Number]) -> tuple[Number, dict[str, Number]]:
    """The most frequent number, and by patterns of peft's the others: it tries each pattern on each layer."""
    usual, _ = Counter(numbers.values()).most_common(1)[0]
    # The `^` keeps `proj_out` from meaning every layer whose name ends so.
    return usual, {f"^{re.escape(layer)}": number for layer, number in numbers.items() if number != usual}


def _is_finite(wrapper: Linear, slot: str) -> bool:
    weights = (*wrapper.lora_A[slot].parameters(), *wrapper.lora_B[slot].parameters())
    return all(bool(torch.isfinite(weight).all()) for weight in weights)


def _unavailable(name: str, why: str) -> RenderFailed:
    return RenderFailed(FailureCode.ADAPTER_UNAVAILABLE, f"adapter {name!r} cannot be had here: {why}")


def _unusable(name: str, why: str) -> RenderFailed:
    return RenderFailed(FailureCode.ADAPTER_UNUSABLE, f"adapter {name!r} cannot be used: {why}", retryable=False)


def _hash(name: str, path: Path) -> str:
    """16 hex digits of what decides an adapter's bits: its file, what stands beside it, and how both are read."""
    digest = hashlib.sha256(_READING)
    beside = path.with_name(CONFIG_NAME)
    try:
        for file in (path, beside) if beside.is_file() else (path,):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    except OSError as error:
        raise _unavailable(name, f"{path}: {error.strerror}") from error
    return digest.hexdigest()[:16]
