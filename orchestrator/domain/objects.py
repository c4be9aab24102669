"""Every key that an object of ours may have in the bucket: of videos, inputs, files and manifests. Pure.

    videos/{job}/{claim}/{video.mp4, cover.png, ...}      what one claim's render left; no claim number is used twice
    videos/{job}/{claim}/result.json                      written last: whoever finds it finds the others
    videos/{job}/{claim}/preview.webp                     one frame of the render that goes on
    videos/{job}/{claim}/checkpoints/{step}.safetensors   between two steps; they vanish when the job ends
    inputs/{sha256}/{upload}.{kind}                       a picture that a video begins at, kept by its content
    files/{tenant's hash}/{file}                          what a tenant uploaded, or a batch's answers
    manifests/{tenant's hash}/{campaign}/{revision}-{content's hash}.jsonl      what came of each row of a campaign
    manifests/{tenant's hash}/{campaign}/{revision}-{content's hash}.sig.json   who vouches for it
    doctor/{probe}                                        written and deleted again by a check of the bucket

Model files and adapters have prefixes of their operators' own (`workers/modelfiles`), and so have videos that are
delivered under their owners' names (`orchestrator/domain/delivering.py`).
"""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

INPUTS = "inputs/"
FILES = "files/"
PROBES = "doctor/"
MANIFESTS = "manifests/"

# The names of a finished render's files.
OUTPUTS = ("video.mp4", "cover.png", "thumbnail.webp", "spritesheet.jpg")

# Nobody else may write below these.
OWN = ("videos/", INPUTS, FILES, PROBES, MANIFESTS)

FILE_ID = re.compile(r"file-([0-9a-f]{32})")

# The first group of both is the hex digits of a UUIDv7, whose time tells how old an object is that no row knows.
INPUT_KEY = re.compile(INPUTS + r"[0-9a-f]{64}/([0-9a-f]{32})\.(?:png|jpeg|webp|avif|heic)")
FILE_KEY = re.compile(FILES + r"[0-9a-f]{16}/" + FILE_ID.pattern)


def job_prefix(job_id: UUID) -> str:
    """Key prefix of all of a job's objects, with the closing slash."""
    return f"videos/{job_id.hex}/"


def claim_prefix(job_id: UUID, claim: int) -> str:
    """Key prefix of one claim's objects, with the closing slash."""
    return f"{job_prefix(job_id)}{claim}/"


def result_key(job_id: UUID, claim: int) -> str:
    """Where a claim's `result.json` lives."""
    return f"{claim_prefix(job_id, claim)}result.json"


def preview_key(job_id: UUID, claim: int) -> str:
    """Where the preview of a claim's render lives."""
    return f"{claim_prefix(job_id, claim)}preview.webp"


def output_keys(job_id: UUID, claim: int, steps: int) -> list[str]:
    """Every key that a claim's render of so many steps may write: no other is its worker's business."""
    names = [claim_prefix(job_id, claim) + name for name in OUTPUTS]
    checkpoints = (checkpoint_key(job_id, claim, step) for step in range(steps + 1))
    return [*names, result_key(job_id, claim), preview_key(job_id, claim), *checkpoints]


def checkpoint_prefix(job_id: UUID, claim: int) -> str:
    """Key prefix of the checkpoints among a claim's objects, with the closing slash."""
    return f"{claim_prefix(job_id, claim)}checkpoints/"


def checkpoint_key(job_id: UUID, claim: int, step: int) -> str:
    """Where a claim's render lives as it is after `step` steps; sorted by name, the newest comes last."""
    return f"{checkpoint_prefix(job_id, claim)}{step:04}.safetensors"


def input_key(sha256: str, upload: UUID, kind: str) -> str:
    """Where a picture lives. `upload` is new each time: what is being deleted must not be what is being written."""
    return f"{INPUTS}{sha256}/{upload.hex}.{kind}"


def file_key(tenant: str, file_id: str) -> str:
    """Where a file's bytes are."""
    return f"{FILES}{_hashed(tenant)}/{file_id}"


def manifest_prefix(tenant: str, campaign_id: str) -> str:
    """Key prefix of all revisions of a campaign's manifest and their signatures, with the closing slash.

    `campaign_id` is the public id.
    """
    return f"{MANIFESTS}{_hashed(tenant)}/{campaign_id}/"


def tenant_prefixes(tenant: str) -> tuple[str, str]:
    """Key prefixes of all files of a tenant and all manifests of its campaigns, with the closing slash."""
    return f"{FILES}{_hashed(tenant)}/", f"{MANIFESTS}{_hashed(tenant)}/"


def manifest_key(tenant: str, campaign_id: str, revision: int, sha256: str) -> str:
    """Where a revision of a manifest lives.

    Its content's hash is part of the name: of two processes that write one revision, the late one, whose claim on the
    campaign is over, changes nothing that a row names.
    """
    return f"{manifest_prefix(tenant, campaign_id)}{revision}-{sha256[:16]}.jsonl"


def signature_key(manifest: str) -> str:
    """Where the signature of the manifest with this key lives: beside it."""
    return f"{manifest.removesuffix('.jsonl')}.sig.json"


def _hashed(tenant: str) -> str:
    """The tenant's name stays out of the bucket."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]
