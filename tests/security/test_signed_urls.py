"""A signed URL opens its object for as long as the operator says, and a revoked key gets no new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import Unauthenticated
from orchestrator.domain.masters import Ring
from orchestrator.store import Store
from orchestrator.tenants.keyring import Keyring
from tests.support.api import api_settings
from tests.support.batches import a_scene, line


@pytest.mark.parametrize(("own", "lifetime_s"), [(None, 600), (3600, 3600)])
async def test_urls_in_a_batchs_output_live_as_long_as_is_set(
    store: Store, objects: S3Objects, s3_settings: S3Settings, database_url: str, own: int | None, lifetime_s: int
) -> None:
    settings = api_settings(database_url, s3_settings.model_copy(update={"url_lifetime_s": 600}))
    batches = settings.batches.model_copy(update={"url_lifetime_s": own})
    scene = a_scene(store, objects, settings.model_copy(update={"batches": batches}))
    batch = await scene.finish(await scene.create([line("a", "bigmodel")], dialect="bigmodel"))
    (answer,) = (await scene.lines(batch.output_file)).values()
    (links,) = answer["response"]["body"]["video_result"]
    lives = [parse_qs(urlsplit(links[name]).query)["X-Amz-Expires"] for name in ("url", "cover_image_url")]
    assert lives == [[str(lifetime_s)]] * 2


async def test_a_long_list_of_urls_breaks_off_when_its_readers_key_is_revoked(store: Store) -> None:
    key = await store.add_key(uuid4().hex, "acme", "tests", master=1)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"signed before"
        await store.revoke_key(key.id)
        yield b"signed behind it"

    listed = Keyring(store, Ring.of("the master key of the tests"), cache_s=0).while_good(key, pieces())
    assert await anext(listed) == b"signed before"
    with pytest.raises(Unauthenticated, match="revoked"):
        await anext(listed)
