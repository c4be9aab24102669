"""Signs anew, with the newest master key, the manifests that one which is retired has signed."""

from __future__ import annotations

import asyncio

from orchestrator.campaigns.manifest import signature_document
from orchestrator.campaigns.signing import Signer
from orchestrator.domain.masters import Ring
from orchestrator.domain.objects import signature_key
from orchestrator.ports import ObjectStore
from orchestrator.ports.masters import MasterStore, SignedManifest

_PAGE = 200


async def signed_with(store: MasterStore, key_id: str) -> list[SignedManifest]:
    """The last manifests that the key with this id signed, by campaign."""
    found: list[SignedManifest] = []
    while page := await store.manifests_signed(key_id, limit=_PAGE, after=found[-1].campaign if found else ""):
        found += page
    return found


async def resign(store: MasterStore, objects: ObjectStore, ring: Ring, key_id: str) -> int:
    """Put a signature of the newest in the place of each of this key's; how many.

    What is signed is what the database knows of a manifest, not what lies in the bucket, where the old key's holder may
    have put another. Doing it again leaves the same. Raises `Unavailable`.
    """
    signer = Signer(ring.newest.key)
    done = 0
    for each in await signed_with(store, key_id):
        mark = each.mark
        signed = signer.sign(
            campaign=each.campaign, revision=mark.revision, final=mark.final, rows=mark.rows, sha256=mark.sha256
        )
        beside = signature_key(mark.key)
        await asyncio.to_thread(objects.put, beside, signature_document(signed), "application/json")
        done += await store.note_signature(each, signed.key_id)
    return done
