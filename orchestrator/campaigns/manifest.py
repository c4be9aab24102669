"""Writes a revision of a campaign's manifest: to the disk line by line, then into S3 with its signature beside it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from orchestrator.campaigns.signing import Signs
from orchestrator.domain.errors import IntegrityError
from orchestrator.domain.job import Artifact
from orchestrator.domain.manifest import ManifestHead, ManifestRow, ManifestSignature, Tally, header_of, line_of
from orchestrator.domain.objects import manifest_key, signature_key
from orchestrator.kit.scratch import Scratch, scratch
from orchestrator.ports import ObjectStore

CONTENT_TYPE = "application/jsonl"
_CHUNK = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenManifest:
    """A revision that is in S3."""

    manifest: Artifact
    signature: ManifestSignature
    # The JSON of the signature, as an object of its own.
    signature_file: Artifact
    # What the header says: `rows`, `bad`, `flagged`, `delivered` and the states that rows are in.
    counts: dict[str, int]


class ManifestWriter:
    """Writes manifests. Whatever a campaign's size, it holds no more than one page of rows at a time."""

    def __init__(self, objects: ObjectStore, signer: Signs) -> None:
        self._objects = objects
        self._signer = signer

    async def write(
        self, tenant: str, head: ManifestHead, pages: AsyncIterator[Sequence[ManifestRow]]
    ) -> WrittenManifest:
        """Write and upload the revision that `head` says, with the rows of `pages`, which come in order of place.

        The header's counts are of the very lines below it, whatever changes meanwhile. Doing it again with the same
        content leaves the same bytes under the same key, and with other content other objects: nobody else's revision
        is overwritten. What no row comes to name is gone with the campaign. Raises `Unavailable`, of the disk as of S3,
        and `IntegrityError` for pages that are out of order.
        """
        tally = Tally()
        with scratch() as body, scratch() as whole:
            last = -1
            async for page in pages:
                last = await asyncio.to_thread(_add, body.file, page, tally, last)
            counts = tally.counts(head.bad)
            sha256 = await asyncio.to_thread(_join, header_of(head, counts), body, whole.file)
            key = manifest_key(tenant, head.campaign, head.revision, sha256)
            manifest = await asyncio.to_thread(self._objects.upload, key, whole.path, CONTENT_TYPE)
        signed = self._signer.sign(
            campaign=head.campaign, revision=head.revision, final=head.final, rows=tally.rows, sha256=sha256
        )
        document = signature_document(signed)
        beside = await asyncio.to_thread(self._objects.put, signature_key(key), document, "application/json")
        return WrittenManifest(manifest=manifest, signature=signed, signature_file=beside, counts=counts)


def signature_document(signed: ManifestSignature) -> bytes:
    """A signature as the object beside its manifest."""
    return json.dumps(signed.to_dict(), indent=1).encode() + b"\n"


def _add(file: IO[bytes], page: Sequence[ManifestRow], tally: Tally, last: int) -> int:
    """Write the lines of a page; the place of its last row."""
    lines = []
    for row in page:
        if row.row <= last:
            raise IntegrityError(f"row {row.row} comes after row {last}")
        last = row.row
        lines.append(line_of(row))
        tally.add(row, row.flags if row.incidents else ())
    if lines:
        file.write("\n".join(lines).encode() + b"\n")
    return last


def _join(header: str, body: Scratch, whole: IO[bytes]) -> str:
    """Write header and rows into one file; its SHA-256. The header comes first, and is known last."""
    digest = hashlib.sha256()

    def add(data: bytes) -> None:
        digest.update(data)
        whole.write(data)

    add(header.encode() + b"\n")
    body.file.flush()
    with body.path.open("rb") as lines:
        while chunk := lines.read(_CHUNK):
            add(chunk)
    whole.flush()
    return digest.hexdigest()


def lines_of(objects: ObjectStore, manifest: Artifact) -> Iterator[str]:
    """The lines of a manifest in S3, header first, without their ends. Blocks. Raises as `ObjectStore.stream` does."""
    rest = b""
    for chunk in objects.stream(manifest.key):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode()
