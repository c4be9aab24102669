"""Who vouches for manifests and receipts of erasures: an Ed25519 key that follows from the newest master key.

Each generation of the master key has a key, and a key id; its public half is a JWK. The JWKS has those in the ring;
what one signed that is there no more is checked with the JWKS of then.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestrator.domain import jsontext
from orchestrator.domain.canonical import text_of
from orchestrator.domain.errors import IntegrityError
from orchestrator.domain.manifest import ManifestSignature
from orchestrator.domain.masters import Masters, Ring
from orchestrator.domain.receipt import Receipt, SignedReceipt

# For these purposes alone. What is signed of one is never what is signed of the other: a receipt says what it is.
_INFO = b"cogmill:manifest:ed25519:v1"
_KEY_BYTES = 32


class Signs(Protocol):
    """Vouches for manifests."""

    def sign(self, *, campaign: str, revision: int, final: bool, rows: int, sha256: str) -> ManifestSignature:
        """Vouch for the manifest with this content."""
        ...


class Signer:
    """Signs with one generation's key."""

    def __init__(self, master_key: str) -> None:
        seed = HKDF(SHA256(), _KEY_BYTES, salt=None, info=_INFO).derive(master_key.encode())
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        # The public half (RFC 8037).
        self.jwk: dict[str, str] = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)}
        self.key_id = thumbprint(self.jwk)

    @property
    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public half as a JWK Set, for everybody."""
        return {"keys": [{**self.jwk, "kid": self.key_id, "alg": "EdDSA", "use": "sig"}]}

    def sign(self, *, campaign: str, revision: int, final: bool, rows: int, sha256: str) -> ManifestSignature:
        """Vouch for the manifest with this content; the same each time."""
        unsigned = ManifestSignature(
            campaign=campaign, revision=revision, final=final, rows=rows, sha256=sha256, key_id=self.key_id
        )
        return replace(unsigned, signature=self._signature(unsigned.statement))

    def sign_receipt(self, receipt: Receipt) -> SignedReceipt:
        """Vouch for a receipt; the same each time."""
        unsigned = SignedReceipt(receipt=receipt.document(self.key_id), signature="")
        return replace(unsigned, signature=self._signature(unsigned.statement))

    def _signature(self, statement: bytes) -> str:
        return base64.b64encode(self._key.sign(statement)).decode()


class NewestSigner:
    """Signs with the newest generation's key, whichever that is by then."""

    def __init__(self, masters: Masters) -> None:
        self._masters = masters

    def sign(self, *, campaign: str, revision: int, final: bool, rows: int, sha256: str) -> ManifestSignature:
        """As `Signer` does."""
        signer = Signer(self._masters().newest.key)
        return signer.sign(campaign=campaign, revision=revision, final=final, rows=rows, sha256=sha256)

    def sign_receipt(self, receipt: Receipt) -> SignedReceipt:
        """As `Signer` does."""
        return Signer(self._masters().newest.key).sign_receipt(receipt)


def jwks_of(ring: Ring) -> dict[str, list[dict[str, str]]]:
    """The public keys of all generations as one JWK Set, that of the newest first."""
    return {"keys": [jwk for master in ring.masters for jwk in Signer(master.key).jwks["keys"]]}


class Keys:
    """Public keys by their ids."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, document: Any) -> Self:
        """The Ed25519 keys of a JWK Set; others are passed over. Raises `IntegrityError` where there are none.

        A key is known by its thumbprint, whatever it says of itself.
        """
        listed = document.get("keys") if isinstance(document, dict) else None
        keys: dict[str, Ed25519PublicKey] = {}
        for jwk in listed if isinstance(listed, list) else ():
            if isinstance(jwk, dict) and (jwk.get("kty"), jwk.get("crv")) == ("OKP", "Ed25519"):
                keys[thumbprint(jwk)] = _public(jwk)
        if not keys:
            raise IntegrityError("the key set has no Ed25519 key")
        return cls(keys)

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """From the JSON of a JWK Set. Raises `IntegrityError`."""
        try:
            return cls.of(jsontext.parse(text))
        except ValueError as error:
            raise IntegrityError(f"the key set is no JSON: {error}") from None

    def verify(self, signed: ManifestSignature | SignedReceipt) -> None:
        """Raises `IntegrityError` unless one of these keys signed this statement."""
        key = self._keys.get(signed.key_id)
        if key is None:
            known = ", ".join(self._keys)
            raise IntegrityError(f"it is signed with the key {signed.key_id}; the key set has {known}")
        try:
            key.verify(base64.b64decode(signed.signature, validate=True), signed.statement)
        except (InvalidSignature, ValueError):
            what = "manifest" if isinstance(signed, ManifestSignature) else "receipt"
            raise IntegrityError(f"the signature is not of this {what}") from None


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The id of a public key (RFC 7638; RFC 8037 names the members)."""
    members = {name: str(jwk.get(name)) for name in ("crv", "kty", "x")}
    return _base64url(hashlib.sha256(text_of(members).encode()).digest())


def _public(jwk: Mapping[str, Any]) -> Ed25519PublicKey:
    try:
        text = str(jwk.get("x"))
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError as error:
        raise IntegrityError(f"the key set has a key that is none: {error}") from None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
