"""The receipt of an erasure: what was erased of a tenant, what remains and why, in a form that is signed. Pure.

It says no tenant's name: whoever knows one learns by its salted hash whether it is the one (`names`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.domain import jsontext
from orchestrator.domain.canonical import text_of
from orchestrator.domain.errors import IntegrityError

RECEIPT: Final = "tenant.erasure_receipt"
SIGNED: Final = "tenant.erasure_receipt.signed"
VERSION: Final = 1

# What no erasure reaches, whatever the deployment is like.
REMAINS: Final = (
    ("backups", "copies of the database and the bucket made before, and versions of objects that the bucket keeps, "
                "go when their own retention is over"),
    ("logs", "lines with the tenant's name and ids of its jobs go when the collector's retention is over"),
    ("audit log", "entries stay without their values, so that the chain still verifies"),
    ("bulk actions", "those of administrators over every tenant go when they are old; until then they have no example "
                     "of its jobs, and what their filters named"),
    ("workers' memory", "a loaded model keeps its last 32 prompts until others push them out or it ends; nothing of a "
                        "tenant's is on workers' disks once a render is over"),
    ("LoRA adapters", "are the deployment's, as configured; no tenant has any"),
    ("what renders taught", "how long kinds of renders take, in numbers that name nobody"),
    ("signed URLs", "open nothing, since their objects are gone, and end by themselves"),
    ("this receipt", "says that and when it was done"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a deployment vouches for."""

    erasure: str
    # The tenant's: hex digits, and of it and the name the SHA-256, which `hashed` makes.
    salt: str
    tenant: str
    requested_at: datetime
    requested_by: str
    finished_at: datetime
    usage_kept: bool
    # Rows by their table, pictures, and the objects with their bytes.
    erased: Mapping[str, int]
    # What is still there, and why.
    remains: Sequence[tuple[str, str]] = REMAINS

    def document(self, key_id: str) -> dict[str, Any]:
        """All that is signed. `key_id` names the key."""
        return {
            "object": RECEIPT,
            "version": VERSION,
            "erasure": self.erasure,
            "tenant": {"salt": self.salt, "sha256": self.tenant},
            "requested_at": _time(self.requested_at),
            "requested_by": self.requested_by,
            "finished_at": _time(self.finished_at),
            "usage": "kept without the tenant's name" if self.usage_kept else "erased",
            "erased": dict(self.erased),
            "remains": [{"what": what, "why": why} for what, why in self.remains],
            "key_id": key_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReceipt:
    """A receipt as it is kept and handed out: one canonical text."""

    receipt: Mapping[str, Any]
    # 64 bytes of Ed25519 over the statement, in base 64.
    signature: str

    @property
    def statement(self) -> bytes:
        """The bytes that are signed."""
        return text_of(self.receipt).encode()

    @property
    def key_id(self) -> str:
        return str(self.receipt["key_id"])

    @property
    def text(self) -> str:
        """The whole file, with a newline."""
        document = {"object": SIGNED, "receipt": self.receipt, "algorithm": "Ed25519", "signature": self.signature}
        return text_of(document) + "\n"

    @classmethod
    def parse(cls, text: bytes | str) -> SignedReceipt:
        """From what `text` gave, and from the same JSON in another layout. Raises `IntegrityError`."""
        try:
            found = jsontext.parse(text, once=True)
        except ValueError as error:
            raise IntegrityError(f"it is no JSON of ours: {error}") from None
        if not isinstance(found, dict) or (found.get("object"), found.get("algorithm")) != (SIGNED, "Ed25519"):
            raise IntegrityError("it is no receipt of an erasure")
        receipt, signature = found.get("receipt"), found.get("signature")
        if not isinstance(receipt, dict) or not isinstance(signature, str):
            raise IntegrityError("it has no receipt, or no signature")
        if (receipt.get("object"), receipt.get("version")) != (RECEIPT, VERSION):
            raise IntegrityError("its receipt is none of this version")
        for name, kind in (("erasure", str), ("finished_at", str), ("key_id", str), ("tenant", dict)):
            if not isinstance(receipt.get(name), kind):
                raise IntegrityError(f"its receipt has no {name}")
        return cls(receipt=receipt, signature=signature)

    def names(self, tenant: str) -> bool:
        """Whether it is this tenant's."""
        told = self.receipt["tenant"]
        return hashed(tenant, str(told.get("salt"))) == str(told.get("sha256"))


def hashed(tenant: str, salt: str) -> str:
    """What stands for a tenant's name in its receipt."""
    return hashlib.sha256(f"{salt}:{tenant}".encode()).hexdigest()


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
