"""Files and batches through the routes of both dialects, on a real database and a real bucket."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from orchestrator.objects.files import FileSweeper
from tests.support.api import Api
from tests.support.batches import ENDPOINTS, line

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIALECTS = {"openai": "/v1", "bigmodel": "/api/paas/v4"}
EACH = pytest.mark.parametrize("dialect", DIALECTS)

FILE_KEYS = {"id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at"}
BATCH_KEYS = {
    "id", "object", "endpoint", "errors", "input_file_id", "completion_window", "status", "output_file_id",
    "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "expired_at", "cancelling_at", "cancelled_at", "request_counts", "metadata",
}  # fmt: skip


async def upload(api: Api, dialect: str, data: bytes = b"{}", **fields: Any) -> httpx.Response:
    form = {"purpose": "batch", **fields}
    return await api.http.post(f"{DIALECTS[dialect]}/files", data=form, files={"file": ("in put.jsonl", data)})


@EACH
async def test_a_file_comes_back_as_it_was_sent_and_goes_when_it_is_deleted(api: Api, dialect: str) -> None:
    base, data = DIALECTS[dialect], bytes(range(256)) * 40
    file = (await upload(api, dialect, data)).json()
    assert set(file) == FILE_KEYS
    assert (file["object"], file["bytes"], file["filename"]) == ("file", len(data), "in put.jsonl")
    assert (file["purpose"], file["status"]) == ("batch", "processed")
    assert file["expires_at"] == file["created_at"] + int(api.settings.retention.jobs_s)
    assert (await api.http.get(f"{base}/files/{file['id']}")).json() == file
    content = await api.http.get(f"{base}/files/{file['id']}/content")
    assert (content.content, content.headers["content-length"]) == (data, str(len(data)))
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''in%20put.jsonl"
    gone = await api.http.delete(f"{base}/files/{file['id']}")
    assert gone.json() == {"id": file["id"], "object": "file", "deleted": True}
    for path in ("", "/content"):
        assert (await api.http.get(f"{base}/files/{file['id']}{path}")).status_code == 404
    assert (await api.http.delete(f"{base}/files/{file['id']}")).status_code == 404
    keys = [key for key in api.services.objects.list_keys("files/") if key.endswith(file["id"])]
    assert len(keys) == 1
    await FileSweeper(api.maintaining, api.services.objects).run_once()
    assert keys[0] not in api.services.objects.list_keys("files/")


async def test_files_are_kept_for_as_long_as_asked(api: Api) -> None:
    until = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = (await upload(api, "openai", **until)).json()
    assert file["expires_at"] == file["created_at"] + 3600
    assert (await upload(api, "openai", purpose="user_data")).json()["expires_at"] is None


@EACH
@pytest.mark.parametrize(
    ("fields", "data", "status", "param"),
    [
        ({"purpose": "fine-tune"}, b"{}", 400, "purpose"),
        ({"purpose": "batch_output"}, b"{}", 400, "purpose"),
        ({"purpose": "vision"}, b"x" * (5 * 2**20 + 1), 413, "file"),
        ({}, b"", 400, "file"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}, b"{}", 400, "expires_after"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(
    api: Api, dialect: str, fields: dict[str, str], data: bytes, status: int, param: str
) -> None:
    answer = await upload(api, dialect, data, **fields)
    assert answer.status_code == status, answer.text
    assert param in answer.json()["error"]["message"]
    assert (await api.http.get(f"{DIALECTS[dialect]}/files")).json()["data"] == []


@EACH
async def test_listings_of_files_page_to_their_end_and_no_further(api: Api, dialect: str) -> None:
    base = DIALECTS[dialect]
    ids = [(await upload(api, dialect)).json()["id"] for _ in range(5)]
    other = (await upload(api, dialect, purpose="user_data")).json()["id"]
    assert await paged(api, f"{base}/files?purpose=batch", 2) == ids[::-1]
    assert await paged(api, f"{base}/files?purpose=batch&order=asc", 5) == ids
    assert await paged(api, f"{base}/files?order=asc", 3) == [*ids, other]
    assert await paged(api, f"{base}/files?purpose=unheard-of", 3) == []
    assert (await api.http.get(f"{base}/files?purpose=%00")).status_code == 400
    await api.http.delete(f"{base}/files/{ids[2]}")
    answer = await api.http.get(f"{base}/files?order=asc&after={ids[2]}&limit=2")
    assert [file["id"] for file in answer.json()["data"]] == ids[3:], "a deleted file still marks a place"


async def paged(api: Api, url: str, limit: int) -> list[str]:
    """Every id, read as the clients do: until an empty page, and `has_more` must have said so."""
    found: list[str] = []
    more = None
    while True:
        after = f"&after={found[-1]}" if found else ""
        page = (await api.http.get(f"{url}{'&' if '?' in url else '?'}limit={limit}{after}")).json()
        ids = [item["id"] for item in page["data"]]
        assert more in (None, bool(ids)), "has_more of the page before"
        assert (page["object"], page["first_id"], page["last_id"]) == (
            "list", ids[0] if ids else None, ids[-1] if ids else None,
        )  # fmt: skip
        if not ids:
            return found
        found += ids
        more = page["has_more"]


@EACH
async def test_a_batch_has_every_key_and_pages_end(api: Api, dialect: str) -> None:
    base = DIALECTS[dialect]
    file = (await upload(api, dialect, line("a", dialect).encode())).json()["id"]
    asked: dict[str, Any] = {"input_file_id": file, "endpoint": ENDPOINTS[dialect], "completion_window": "24h"}
    batch = (await api.http.post(f"{base}/batches", json={**asked, "metadata": {"a": "b"}})).json()
    assert set(batch) == BATCH_KEYS
    assert (batch["object"], batch["status"], batch["errors"]) == ("batch", "validating", None)
    assert (batch["input_file_id"], batch["expires_at"]) == (file, batch["created_at"] + 86_400)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["metadata"] == {"a": "b"}
    more = [(await api.http.post(f"{base}/batches", json=asked)).json()["id"] for _ in range(2)]
    assert await paged(api, f"{base}/batches", 2) == [*more[::-1], batch["id"]]
    cancelled = await api.http.post(f"{base}/batches/{batch['id']}/cancel")
    assert cancelled.json()["status"] == "cancelling"
    assert (await api.http.get(f"{base}/batches/{batch['id']}")).json() == cancelled.json()


@EACH
@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input_file_id": "file-" + "0" * 32}, "input_file_id"),
        ({"input_file_id": None}, "input_file_id"),
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": "1 day"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"\x00": "x"}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_by_name(
    api: Api, dialect: str, changes: dict[str, Any], param: str
) -> None:
    file = (await upload(api, dialect)).json()["id"]
    body = {"input_file_id": file, "endpoint": ENDPOINTS[dialect], **changes}
    answer = await api.http.post(f"{DIALECTS[dialect]}/batches", json=body)
    assert answer.status_code == 400, answer.text
    assert param in answer.json()["error"]["message"]


@EACH
async def test_another_tenants_batches_are_not_there(api: Api, dialect: str) -> None:
    base = DIALECTS[dialect]
    file = (await upload(api, dialect, line("a", dialect).encode())).json()["id"]
    asked = {"input_file_id": file, "endpoint": ENDPOINTS[dialect]}
    batch = (await api.http.post(f"{base}/batches", json=asked)).json()["id"]
    async with await api.client("somebody else") as stranger:
        assert (await stranger.get(f"{base}/batches/{batch}")).status_code == 404
        assert (await stranger.post(f"{base}/batches/{batch}/cancel")).status_code == 404
        assert (await stranger.get(f"{base}/batches")).json()["data"] == []
        assert (await stranger.post(f"{base}/batches", json=asked)).status_code == 400
    assert (await api.http.get(f"{base}/batches/{batch}")).json()["status"] == "validating"


async def test_a_large_upload_never_lives_in_memory(api: Api) -> None:
    size, piece = 60 * 2**20, b"x" * 2**16
    head = b'--XX\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    tail = b'\r\n--XX\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--XX--\r\n'

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield tail

    kind = {"content-type": "multipart/form-data; boundary=XX"}
    with measured() as peak:
        answer = await api.http.post("/v1/files", content=body(), headers=kind)
    assert (answer.status_code, answer.json()["bytes"]) == (200, size)
    assert peak[0] < 40 * 2**20, "S3's parts are in memory, the file is not"


@contextmanager
def measured() -> Iterator[list[int]]:
    """Python's own allocations at their highest, in bytes, once the block is over."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
    finally:
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
