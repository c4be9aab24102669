"""How strongly a published LoRA adapter wants to be applied: alpha / rank, wherever its publisher wrote alpha down.

Each place that says something is obeyed; places that contradict each other, and words that are not understood, are
refused, because a wrong strength is a video that looks wrong for no visible reason. Where nothing is said it is 1, as
in diffusers and ComfyUI.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from peft import LoraConfig
from peft.utils import CONFIG_NAME
from peft.utils.other import get_pattern_key

from orchestrator.domain import jsontext

# A LoraConfig as JSON in the file's metadata: diffusers' (`LORA_ADAPTER_METADATA_KEY`), and that of finetrainers' SFT
# trainer (`{"lora_config": json.dumps({"r": ..., "lora_alpha": ...})}`).
_DOCUMENTS = ("lora_adapter_metadata", "lora_config")
# What a LoraConfig, or an entry of the metadata on its own, calls the three things that make a strength.
_ALPHA = ("lora_alpha", "alpha", "network_alpha")
_RANK = ("r", "rank", "lora_rank", "lora_r", "network_dim")
_BY_ROOT = "use_rslora"
# kohya's sd-scripts write these beside a tensor `alpha` for each layer, which is what every reader obeys; what is here
# may be older ("Dynamic" after a resize), and counts only in a file without such tensors.
_KOHYA = ("ss_network_alpha", "ss_network_dim")
# What else in the metadata would change the strength, or the kind of adapter, if one knew how.
_STRENGTH = re.compile(r"alpha|rslora|rs_lora|scal(e|ing)|dora|loha|lokr")
_FOREIGN = re.compile(r"(ss|sshs|modelspec)[_.]")
# Of a LoraConfig: what training and saving needed, and what the weights' own names and shapes tell.
_INERT = frozenset((
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "bias",
    "lora_bias", "trainable_token_indices", "ensure_weight_tying", "fan_in_fan_out", "qalora_group_size",
    "lora_dropout", "base_model_name_or_path", "revision", "task_type", "auto_mapping", "inference_mode",
    "peft_version", "runtime_config", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core",
    "megatron_config",
))  # fmt: skip
_UNDERSTOOD = frozenset((
    *_ALPHA, *_RANK, _BY_ROOT, "rank_pattern", "alpha_pattern", "peft_type", "adapter_type", "init_lora_weights"
))  # fmt: skip
# Those that leave the layer as it is. The others (PiSSA, OLoRA, LoftQ ...) train against one that they changed first.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
# An alpha in 16 bits is rounded.
_EQUAL = 0.01


@dataclass(frozen=True, slots=True)
class Statement:
    """One place that says how strong the adapter is; `where` names it, `config` is a LoraConfig's or like one."""

    where: str
    config: Mapping[str, object]

    def scale(self, layer: str, rank: int) -> float | None:
        """What a layer's `up @ down` is multiplied by, None where this says nothing of it. Raises `ValueError`."""
        told = self._number(_RANK, "rank_pattern", layer)
        if told is not None and told != rank:
            raise ValueError(f"{self.where} and its weights disagree about {layer}: rank {told:g}, and it has {rank}")
        alpha, by_root = self._number(_ALPHA, "alpha_pattern", layer), self._by_root()
        if alpha is None:
            if by_root:
                raise ValueError(f"{self.where} has {_BY_ROOT} and no alpha")
            return None
        return alpha / (math.sqrt(rank) if by_root else rank)

    def _number(self, names: Sequence[str], pattern: str, layer: str) -> float | None:
        patterns = self.config.get(pattern) or {}
        if not isinstance(patterns, Mapping):
            raise ValueError(f"{self.where} has the {pattern} {str(patterns)[:80]!r}, which is not understood")
        key = get_pattern_key(list(patterns), layer)
        if key in patterns:
            return _positive(f"{self.where}: {pattern} {key!r}", patterns[key])
        said = {_positive(f"{self.where}: {name}", self.config[name]) for name in names if name in self.config}
        if len(said) > 1:
            raise ValueError(f"{self.where} contradicts itself: {' and '.join(f'{it:g}' for it in sorted(said))}")
        return said.pop() if said else None

    def _by_root(self) -> bool:
        value = self.config.get(_BY_ROOT, False)
        if str(value).lower() not in ("true", "false"):
            raise ValueError(f"{self.where} has {_BY_ROOT} {str(value)[:80]!r}, which is not understood")
        return str(value).lower() == "true"


def statements(metadata: Mapping[str, str], file: Path, *, has_alphas: bool) -> list[Statement]:
    """What a file's metadata and its neighbour say of strength. `has_alphas`: layers have a tensor `alpha` each.

    Raises `ValueError` for what is not understood.
    """
    said = list(_documents(metadata, file))
    plain = {name: metadata[name] for name in (*_ALPHA, *_RANK, _BY_ROOT) if name in metadata}
    if plain.keys() & {*_ALPHA, _BY_ROOT}:
        said.append(Statement("its metadata", plain))
    if _KOHYA[0] in metadata and not has_alphas:
        kohya = {new: metadata[old] for new, old in zip((_ALPHA[0], _RANK[0]), _KOHYA, strict=True) if old in metadata}
        said.append(Statement(f"its {_KOHYA[0]}", kohya))
    for name in sorted(metadata.keys() - plain.keys() - {*_DOCUMENTS}):
        if _STRENGTH.search(name.lower()) and not _FOREIGN.match(name):
            raise ValueError(f"its metadata says {name} {metadata[name][:80]!r}, which is not understood")
    return said


def scale(said: Sequence[Statement], layer: str, rank: int, alpha: float | None) -> float:
    """What a layer's `up @ down` is multiplied by. `alpha` is the layer's own tensor's. Raises `ValueError`."""
    scales = {statement.where: found for statement in said if (found := statement.scale(layer, rank)) is not None}
    if alpha is not None:
        where = f"its tensor {layer}.alpha"
        scales[where] = _positive(where, alpha) / rank
    if not scales:
        return 1.0
    first, *others = scales.items()
    for where, other in others:
        if not math.isclose(other, first[1], rel_tol=_EQUAL):
            raise ValueError(f"{first[0]} and {where} disagree about {layer}: strength {first[1]:g} and {other:g}")
    return first[1]


def _documents(metadata: Mapping[str, str], file: Path) -> Iterator[Statement]:
    for name in _DOCUMENTS:
        if metadata.get(name):
            yield _statement(f"its {name}", metadata[name])
    if (beside := file.with_name(CONFIG_NAME)).is_file():
        yield _statement(CONFIG_NAME, beside.read_bytes())


def _statement(where: str, text: str | bytes) -> Statement:
    try:
        document = jsontext.parse(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ValueError(f"{where} is no JSON object")
    # diffusers puts the pipeline's part before each key, but not where it saves one part alone.
    config = {name.removeprefix("transformer."): value for name, value in document.items() if value is not None}
    _require_lora(where, config)
    return Statement(where, config)


def _require_lora(where: str, config: Mapping[str, object]) -> None:
    """Raise `ValueError` for a configuration that means more, or something else, than `scale * up @ down`."""
    kind = str(config.get("peft_type", config.get("adapter_type", "LORA")))
    if config.get("use_dora") or kind.upper() != "LORA":
        raise ValueError(
            f"{where} says that it is {'DoRA' if config.get('use_dora') else kind}, which is not supported"
        )
    if (start := config.get("init_lora_weights")) not in _PLAIN_STARTS:
        raise ValueError(f"{where} says init_lora_weights {str(start)!r}, which changes the model's own layers")
    usual = asdict(LoraConfig())
    for name in sorted(config.keys() - _INERT - _UNDERSTOOD):
        if config[name] and config[name] != usual.get(name):
            raise ValueError(f"{where} says {name} {str(config[name])[:80]!r}, which is not supported")


def _positive(what: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{what} is {str(value)[:80]!r}, which is not understood")
    return number
