"""A campaign's manifest: what came of each row, in lines that are the same bytes wherever they are written. Pure.

The first line is the header, and then there is a line for each row in the order of their places. Each is canonical
JSON (`orchestrator/domain/canonical.py`) and ends with one newline. Nothing in it is a moment, an address or a tenant's
name, so that equal content is equal bytes; the revision's number, and whether it is the last, are content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.domain.campaign import Outcome
from orchestrator.domain.canonical import number, quoted, text_of
from orchestrator.domain.errors import IntegrityError
from orchestrator.domain.job import Incident

HEADER: Final = "campaign.manifest"
SIGNATURE: Final = "campaign.manifest_signature"
VERSION: Final = 1

# Of them somebody should look at the video: it was made, and may show nothing.
_PLAUSIBILITY: Final = (Incident.ALL_BLACK, Incident.FROZEN, Incident.NON_FINITE)


def flags_of(incidents: Iterable[str]) -> tuple[str, ...]:
    """Which of these incidents say that the video is perhaps none, in an order of their own."""
    befallen = set(incidents)
    return tuple(incident.value for incident in _PLAUSIBILITY if incident in befallen)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """What rows were rendered from."""

    # Counts from 1.
    version: int
    prompt: str
    negative_prompt: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOf:
    """Where the rows came from."""

    # A file's id, an address in S3, or a word such as `upload`.
    source: str
    # Of what was read, in lower-case hex.
    sha256: str | None = None
    # Records that were read, bad ones among them.
    records: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """What a manifest says of its campaign. How many rows there are, and in which state, its rows tell."""

    # Its public id.
    campaign: str
    name: str | None = None
    # Counts from 1.
    revision: int
    # No other comes, unless the campaign is taken up again.
    final: bool
    template_versions: Sequence[TemplateVersion] = ()
    input: InputOf | None = None
    # Records of the input that made no row.
    bad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row as it stands. What there is none of is None."""

    # Its place, from 0, and the line or record of the input, from 1.
    row: int
    line: int | None = None
    custom_id: str
    # The word of the row's state.
    state: str
    # As they were rendered.
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    # The model's name and the revision of its weights.
    model: str | None = None
    revision: str | None = None
    profile: str | None = None
    # The parameters of the video as they were asked for, defaults included.
    params: Mapping[str, Any] = field(default_factory=dict)
    numerics: str | None = None
    continuity: str | None = None
    # Of the video: its key, its content in lower-case hex, its bytes.
    key: str | None = None
    sha256: str | None = None
    size: int | None = None
    # Where its campaign's `output` has put a copy of it, in the same bucket.
    delivered: str | None = None
    # The public id of its last job.
    job: str | None = None
    attempts: int = 0
    # Of all attempts.
    gpu_seconds: float = 0.0
    incidents: Sequence[str] = ()
    # {"code", "message"} of why it has no video.
    error: Mapping[str, Any] | None = None
    template_version: int | None = None

    @property
    def has_video(self) -> bool:
        """It has one that its owner keeps. What was rendered and then left out has a key, too."""
        return self.key is not None and self.state == Outcome.SUCCEEDED

    @property
    def flags(self) -> tuple[str, ...]:
        """Which of its incidents somebody should look at."""
        return flags_of(self.incidents)


# The names of a row's line, in their order there.
NAMES: Final = tuple(sorted((*ManifestRow.__slots__, "flags")))


def line_of(row: ManifestRow) -> str:
    """The line of a row, without its newline.

    Spelt out, as a million are written: `text_of` says the same, more slowly.
    """
    incidents = row.incidents
    return (
        f'{{"attempts":{row.attempts}'
        f',"continuity":{_word(row.continuity)}'
        f',"custom_id":{quoted(row.custom_id)}'
        f',"delivered":{_word(row.delivered)}'
        f',"error":{"null" if row.error is None else text_of(row.error)}'
        f',"flags":{text_of(flags_of(incidents)) if incidents else "[]"}'
        f',"gpu_seconds":{number(row.gpu_seconds)}'
        f',"incidents":{text_of(incidents) if incidents else "[]"}'
        f',"job":{_word(row.job)}'
        f',"key":{_word(row.key)}'
        f',"line":{_count(row.line)}'
        f',"model":{_word(row.model)}'
        f',"negative_prompt":{_word(row.negative_prompt)}'
        f',"numerics":{_word(row.numerics)}'
        f',"params":{text_of(row.params) if row.params else "{}"}'
        f',"profile":{_word(row.profile)}'
        f',"prompt":{_word(row.prompt)}'
        f',"revision":{_word(row.revision)}'
        f',"row":{row.row}'
        f',"seed":{_count(row.seed)}'
        f',"sha256":{_word(row.sha256)}'
        f',"size":{_count(row.size)}'
        f',"state":{quoted(row.state)}'
        f',"template_version":{_count(row.template_version)}}}'
    )


def _word(text: str | None) -> str:
    return "null" if text is None else quoted(text)


def _count(value: int | None) -> str:
    return "null" if value is None else int.__repr__(value)


class Tally:
    """Counts rows as they pass by."""

    def __init__(self) -> None:
        self.rows = 0
        self._flagged = 0
        self._delivered = 0
        self._states: Counter[str] = Counter()

    def add(self, row: ManifestRow, flags: Sequence[str]) -> None:
        """Count a row. Its flags are handed in, since a newer release may have found more than this one would."""
        self.rows += 1
        self._states[row.state] += 1
        self._flagged += bool(flags)
        self._delivered += row.delivered is not None

    def counts(self, bad: int) -> dict[str, int]:
        """What the header says: `rows`, `bad`, `flagged`, `delivered`, and the rows of each state that has any."""
        return {"rows": self.rows, "bad": bad, "flagged": self._flagged, "delivered": self._delivered, **self._states}


def header_of(head: ManifestHead, counts: Mapping[str, int]) -> str:
    """The first line, without its newline; `counts` are those of a `Tally` of the rows."""
    versions = [
        {
            "version": each.version,
            "prompt": each.prompt,
            "negative_prompt": each.negative_prompt,
            "defaults": each.defaults,
        }
        for each in head.template_versions
    ]
    source = head.input
    return text_of(
        {
            "object": HEADER,
            "version": VERSION,
            "campaign": head.campaign,
            "name": head.name,
            "revision": head.revision,
            "final": head.final,
            "template_versions": versions,
            "rows": counts["rows"],
            "counts": counts,
            "input": None
            if source is None
            else {"source": source.source, "sha256": source.sha256, "records": source.records},
        }
    )


def row_of(fields: Mapping[str, Any]) -> ManifestRow:
    """The row that a line says, read as JSON. Raises `IntegrityError` for one with other names."""
    if tuple(sorted(fields)) != NAMES:
        raise IntegrityError("is no row of a manifest of this version")
    return ManifestRow(**{name: fields[name] for name in NAMES if name != "flags"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSignature:
    """Who vouches for which bytes.

    Signed is `statement`, a few bytes, and not the file: plain Ed25519 (RFC 8032) goes twice over what it signs, so a
    file of 300 MB would have to be in memory, here and at everybody who checks it. The statement holds the file's
    SHA-256, which is made in passing.
    """

    campaign: str
    revision: int
    final: bool
    rows: int
    # Of the whole file, in lower-case hex.
    sha256: str
    # The thumbprint of the public key (RFC 7638).
    key_id: str
    # 64 bytes in base 64; empty while it is not signed yet.
    signature: str = ""

    @property
    def statement(self) -> bytes:
        """The bytes that are signed: the canonical JSON of all fields but the signature."""
        names = ("campaign", "final", "key_id", "revision", "rows", "sha256")
        return text_of({name: getattr(self, name) for name in names}).encode()

    def to_dict(self) -> dict[str, Any]:
        """As it is answered and kept beside the manifest."""
        return {
            "object": SIGNATURE,
            "campaign": self.campaign,
            "revision": self.revision,
            "final": self.final,
            "rows": self.rows,
            "sha256": self.sha256,
            "algorithm": "Ed25519",
            "key_id": self.key_id,
            "signature": self.signature,
        }

    @classmethod
    def from_dict(cls, data: Any) -> ManifestSignature:
        """From what `to_dict` gave. Raises `IntegrityError` for anything else."""
        kinds = {"campaign": str, "revision": int, "final": bool, "rows": int, "sha256": str, "key_id": str}
        kinds |= {"signature": str}
        if not isinstance(data, dict) or data.get("object") != SIGNATURE or data.get("algorithm") != "Ed25519":
            raise IntegrityError("is no signature of a manifest")
        for name, kind in kinds.items():
            if type(data.get(name)) is not kind:
                raise IntegrityError(f"has no {name}")
        return cls(**{name: data[name] for name in kinds})


# Makes a signed URL of a row's video, and says until when it opens, in Unix seconds.
Presign = Callable[[ManifestRow], tuple[str, int]]


def links_of(rows: Iterable[ManifestRow], presign: Presign) -> Iterator[str]:
    """A line with a URL for each row that has a video: a document of its own, never signed, as URLs end."""
    for row in rows:
        if row.has_video:
            url, expires_at = presign(row)
            link = {"custom_id": row.custom_id, "url": url, "sha256": row.sha256, "size": row.size}
            yield text_of({**link, "expires_at": expires_at})
