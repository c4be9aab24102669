"""Records a small database as a release leaves it, and what its users hold: keys, secrets, ids, a signature.

    git archive COMMIT | tar -x -C TREE && cd TREE && PYTHONPATH=TREE python -P .../tests/support/recorded.py INTO

runs the release's own API, on a PostgreSQL and a bucket of its tests, and writes INTO.sql and INTO.json.
`tests/security/test_upgrade.py` upgrades it. Nothing here imports what the release did not have.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import asyncpg
import httpx

from orchestrator.campaigns.signing import Signer
from orchestrator.store import migrate
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, Api, in_process, serving
from tests.support.postgres import Server
from tests.support.receivers import webhook_settings
from tests.support.s3 import S3Server

HOOK = "http://127.0.0.1:8080/hook"
# Lines that are for psql alone.
_SETTING_UP = re.compile(r"^(SET |SELECT pg_catalog\.set_config|--|\\|$)")


async def use(url: str, s3: S3Server) -> dict[str, object]:
    """What a tenant does, and holds afterwards."""
    settings = webhook_settings(url).model_copy(update={"s3": s3.new_bucket()})
    async with serving(settings) as app:
        api = Api(app, settings, tenant="acme", http=in_process(app))
        store = api.services.store
        made = {name: keys.new_id() for name in ("key", "operator", "revoked", "other")}
        for name, key_id in made.items():
            tenant = "other" if name == "other" else "acme"
            await store.add_key(key_id, tenant, name, operator=name == "operator")  # type: ignore[call-arg]  # as it had
        await store.revoke_key(made["revoked"])
        held: dict[str, object] = {name: keys.issue(MASTER_KEY, key_id) for name, key_id in made.items()}
        api.http.headers["authorization"] = f"Bearer {held['key']}"
        async with api.http:
            held |= await ask(api)
    manifest = {"campaign": "campaign_1", "revision": 3, "final": True, "rows": 5, "sha256": "ab" * 32}
    signed = Signer(MASTER_KEY).sign(**manifest)  # type: ignore[arg-type]
    return held | {"manifest": manifest | {"key_id": signed.key_id, "signature": signed.signature}}


async def ask(api: Api) -> dict[str, object]:
    """One video that is there, one that failed, one that waits; an endpoint whose secret was rotated; a file."""

    async def post(path: str, body: object, **headers: str) -> dict[str, object]:
        answer: httpx.Response = await api.http.post(path, json=body, headers=headers)
        return dict(answer.raise_for_status().json())

    events = ["video.completed", "video.failed"]
    endpoint = await post("/v1/webhook_endpoints", {"name": "mine", "url": HOOK, "event_types": events})
    rotated = await post(f"/v1/webhook_endpoints/{endpoint['id']}/rotate_secret", {})
    first = (await api.http.get("/v1/webhook_secret")).raise_for_status().json()
    second = await post("/v1/webhook_secret/rotate", {})
    done = await post("/v1/videos", {"prompt": "done", "webhook_url": HOOK})
    await api.succeed(str(done["id"]))
    heard = await api.http.get(f"/v1/videos/{done['id']}/events")
    failed = await post("/api/paas/v4/videos/generations", {"model": "cogvideox-3", "prompt": "failed"})
    await api.fail(str(failed["id"]))
    waiting = await post("/v1/videos", {"prompt": "waiting"}, **{"idempotency-key": "monday"})
    form = {"purpose": "batch"}
    file = await api.http.post("/v1/files", data=form, files={"file": ("in.jsonl", b'{"custom_id": "a"}\n')})
    return {
        "done": done["id"],
        "failed": failed["id"],
        "waiting": waiting["id"],
        "event": re.findall(r"^id: (.+)$", heard.raise_for_status().text, re.MULTILINE)[-1],
        "file": file.raise_for_status().json()["id"],
        "endpoint": endpoint["id"],
        "endpoint_secrets": [endpoint["signing_secret"], rotated["signing_secret"]],
        "tenant_secrets": [first["signing_secret"], second["signing_secret"]],
    }


def dumped(server: Server, database: str) -> str:
    """The rows, as statements."""
    options = ("--data-only", "--column-inserts", "--exclude-table=alembic_version", "--no-owner")
    text = server.program("pg_dump", *options, server.url(database))
    lines = [line for line in text.splitlines() if not _SETTING_UP.match(line)]
    return "\n".join(lines) + "\n"


async def version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT version_num FROM alembic_version"))
    finally:
        await connection.close()


def main(into: Path) -> None:
    server, s3 = Server.create(), S3Server.create()
    try:
        database = server.new_database()
        migrate(server.url(database))
        held = asyncio.run(use(server.url(database), s3))
        held["schema"] = asyncio.run(version(server.url(database)))
        into.with_suffix(".sql").write_text(dumped(server, database))
        into.with_suffix(".json").write_text(json.dumps(held, indent=1) + "\n")
    finally:
        server.remove()
        s3.remove()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
