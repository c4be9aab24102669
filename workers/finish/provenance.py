"""Where a video comes from, said in the file: a signed C2PA manifest, and the same in plain MP4 metadata.

C2PA: https://spec.c2pa.org. No time-stamping authority is asked: workers sign without a network.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from c2pa import Builder, C2paError, C2paSignerInfo, Signer
from PIL import Image

from orchestrator.config import FinishSettings
from orchestrator.domain.errors import ConfigError, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import public_id
from orchestrator.domain.protocol import Assignment
from workers.finish import certificate
from workers.finish.certificate import Credential

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GENERATOR = "Cogmill"
MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
RENDER = "org.cogmill.render"


@dataclass(frozen=True)
class Origin:
    """What a video says of itself. Its prompt is not among it: that is its owner's."""

    model: str
    seed: int
    job: str

    @classmethod
    def of(cls, assignment: Assignment) -> Origin:
        return cls(model=assignment.spec.model, seed=assignment.spec.seed, job=public_id(assignment.job_id))

    @property
    def metadata(self) -> dict[str, str]:
        """For the MP4's own metadata, as any player shows it."""
        return {
            "comment": "Made by AI",
            "digital_source_type": MADE_BY_AI,
            "software": f"{GENERATOR} {version('cogmill')}",
            "model": self.model,
            "seed": str(self.seed),
            "job": self.job,
        }

    @property
    def manifest(self) -> dict[str, object]:
        """For `c2pa.Builder`."""
        agent = {"name": GENERATOR, "version": version("cogmill")}
        created = {"action": "c2pa.created", "digitalSourceType": MADE_BY_AI, "softwareAgent": agent}
        return {
            "claim_generator_info": [agent],
            "title": f"{self.job}.mp4",
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
                {"label": RENDER, "data": {"model": self.model, "seed": self.seed, "job": self.job}},
            ],
        }


class Seal:
    """Signs videos with one credential."""

    def __init__(self, credential: Credential) -> None:
        self._info = C2paSignerInfo(credential.algorithm, credential.chain, credential.key, None)

    @classmethod
    def load(cls, settings: FinishSettings) -> Seal:
        """With the operator's certificate, or a test certificate. Raises `ConfigError`.

        C2PA asks more of a certificate than that it is one, so a tiny picture is signed first: better a worker that
        does not start than one that fails every render.
        """
        if settings.certificate is None or settings.certificate_key is None:
            return cls(certificate.make())
        seal = cls(certificate.read(settings.certificate, settings.certificate_key))
        picture, signed = io.BytesIO(), io.BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        try:
            seal._sign("image/png", picture, signed, Origin(model="", seed=0, job=""))
        except C2paError as error:
            raise ConfigError(
                f"finish.certificate: {settings.certificate} cannot sign for C2PA: {_line(error)}"
            ) from error
        return seal

    def sign(self, unsigned: Path, signed: Path, origin: Origin) -> None:
        """Write a copy of the MP4 with the manifest inside, and check it.

        Raises `OSError` when it cannot be written, `RenderFailed` (`provenance_failed`) when it cannot be signed.
        """
        with unsigned.open("rb") as source, _Disk(signed, "w+b") as destination:
            try:
                self._sign("video/mp4", source, destination, origin)
            except C2paError as error:
                if destination.failure is not None:
                    raise destination.failure from None
                raise RenderFailed(
                    FailureCode.PROVENANCE_FAILED, f"the video could not be signed: {_line(error)}"
                ) from error

    def _sign(self, kind: str, source: BinaryIO, destination: BinaryIO, origin: Origin) -> None:
        # A signer of its own for each: they are not made for two threads.
        with Signer.from_info(self._info) as signer, Builder(origin.manifest) as builder:
            builder.sign(signer, kind, source, destination)


class _Disk(io.FileIO):
    """A file that is written whole or not, and remembers why not: c2pa asks for neither."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
            raise
        return memoryview(data).nbytes


def _line(error: C2paError) -> str:
    return " ".join(str(error).split())
