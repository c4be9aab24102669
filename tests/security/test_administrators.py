"""Attacks with administrators' keys: one that would become more, one that was stolen, and a tenant's that tries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from orchestrator.domain.rights import ROLES, USUAL, Role, Scope
from tests.support.api import POOL, Api, document, id_of, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN, KEYS = "/v1/admin", "/v1/admin/keys"
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
OFFICE, ALLOWED = "203.0.113.7", (ip_network("203.0.113.0/24"),)


@asynccontextmanager
async def holding(api: Api, *scopes: Scope, **rights: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api.app, await api.key(scopes=frozenset(scopes), **rights), address=OFFICE) as http:
        yield http


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def test_an_administrators_key_gives_nobody_what_it_has_not_but_what_every_tenant_has(api: Api) -> None:
    """Else one that may only manage tenants would make itself an operator."""
    async with holding(api, Scope.ADMIN) as http:
        for more in ({"role": "operator"}, {"role": "viewer"}, {"role": "admin"}, {"scopes": ["view"]}):
            assert refused(await http.post(KEYS, json={"tenant": "x", **more})) == (403, "beyond_own_rights", "scopes")
        made = await http.post(KEYS, json={"tenant": "x", "scopes": sorted(USUAL | {Scope.ADMIN})})
        assert set(made.raise_for_status().json()["scopes"]) == USUAL | {Scope.ADMIN}
        # What it made has no more to give than it has: the way round through another key is closed, too.
        async with in_process(api.app, made.json()["key"], address=OFFICE) as second:
            asked = {"tenant": "x", "role": "operator"}
            assert refused(await second.post(KEYS, json=asked)) == (403, "beyond_own_rights", "scopes")


async def test_an_administrators_key_gives_no_longer_life_and_no_wider_networks(api: Api) -> None:
    async with holding(api, *ROLES[Role.ADMIN], expires_at=SOON, allow=ALLOWED) as http:
        for more, param in (
            ({"expires_at": (SOON + timedelta(seconds=1)).isoformat()}, "expires_at"),
            ({"allow": ["0.0.0.0/0"]}, "allow"),
        ):  # fmt: skip
            assert refused(await http.post(KEYS, json={"tenant": "x", **more})) == (403, "beyond_own_rights", param)
        made = (await http.post(KEYS, json={"tenant": "x"})).raise_for_status().json()
        assert (made["expires_at"], made["allow"]) == (int(SOON.timestamp()), [str(ALLOWED[0])])
        forever = id_of(await api.key())
        rotated = await http.post(f"{KEYS}/{forever}/rotate")  # a tenant's key without an end would outlive it
        assert refused(rotated) == (403, "beyond_own_rights", "expires_at")


async def test_an_administrators_key_replaces_and_revokes_none_that_may_more(api: Api) -> None:
    operators = id_of(await api.key(scopes=ROLES[Role.OPERATOR]))
    async with holding(api, Scope.ADMIN) as http:
        for ask in ("rotate", "revoke"):
            answer = await http.post(f"{KEYS}/{operators}/{ask}")
            assert refused(answer) == (403, "beyond_own_rights", "scopes")
    found = await api.services.store.find_key(operators)
    assert found is not None
    assert (found.revoked_at, found.replaced_by) == (None, None)


async def test_no_tenant_is_called_what_a_path_does_not_keep(api: Api) -> None:
    """Nobody could limit or erase it: `/v1/admin/tenants/../erasure` is another route by the time that it arrives."""
    async with holding(api, *ROLES[Role.ADMIN]) as http:
        for name in (".", ".."):
            assert refused(await http.post(KEYS, json={"tenant": name})) == (400, "invalid_value", "tenant")
            path = f"{ADMIN}/tenants/{name.replace('.', '%2e')}"
            assert refused(await http.put(path, json={})) == (400, "invalid_value", "tenant")
        assert (await http.post(KEYS, json={"tenant": "..."})).status_code == 200


async def test_a_tenants_key_makes_no_administrator_and_reaches_nothing_of_administration(api: Api) -> None:
    for scope in ("view", "operate", "admin"):
        answer = await api.http.post("/v1/keys", json={"scopes": [scope]})
        assert refused(answer) == (403, "beyond_own_rights", "scopes")
    for path, item in document()["paths"].items():
        for method in item if path.startswith(ADMIN) else ():
            answer = await api.http.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 403, (method, path)


async def test_a_revoked_administrator_makes_no_key_while_others_still_take_it_for_good(api: Api) -> None:
    whole = await api.key(scopes=ROLES[Role.ADMIN])
    async with in_process(api.app, whole) as http:
        await api.services.store.revoke_key(id_of(whole))
        assert (await http.post(KEYS, json={"tenant": "x"})).status_code == 401


async def test_a_stolen_viewers_key_shows_no_prompt_no_secret_and_changes_nothing(api: Api) -> None:
    words = "a lighthouse that nobody is to hear of"
    video_id = (await api.http.post("/v1/videos", json={"prompt": words})).raise_for_status().json()["id"]
    await api.fail(video_id)
    known = id_of(api.http.headers["authorization"].removeprefix("Bearer "))
    secret = api.http.headers["authorization"].removeprefix(f"Bearer {known}.")
    there = {"tenant": api.tenant, "job_id": video_id, "key_id": known, "pool": POOL, "worker_id": "c:w"}
    there |= {"period": "day", "unit": "money", "subject": "s", "erasure_id": "e", "bulk_id": "b", "campaign_id": "c"}
    async with holding(api, *ROLES[Role.VIEWER]) as http:
        seen = 0
        for path, item in document()["paths"].items():
            for method in item if path.startswith(ADMIN) else ():
                answer = await http.request(method, path.format_map(there))
                assert answer.status_code == 403 or method == "get", (method, path)
                assert words not in answer.text
                assert secret not in answer.text
                seen += answer.status_code == 200
    assert seen > 12  # it was let in where it may look


async def test_a_stolen_operators_key_touches_neither_tenants_nor_keys_and_makes_none(api: Api) -> None:
    async with holding(api, *ROLES[Role.OPERATOR]) as http:
        for method, path in (
            ("PUT", f"tenants/{api.tenant}"), ("PATCH", f"tenants/{api.tenant}"), ("POST", "keys"),
            ("PUT", f"tenants/{api.tenant}/shares/{POOL}"), ("PUT", f"tenants/{api.tenant}/budgets/day/money"),
            ("POST", "keys/cgm_0/rotate"), ("POST", "keys/cgm_0/revoke"),
        ):  # fmt: skip
            assert refused(await http.request(method, f"{ADMIN}/{path}", json={}))[:2] == (403, "missing_scope")
        assert (await http.get(f"/v1/videos?tenant={api.tenant}")).status_code == 403
        assert (await http.post("/v1/keys", json={})).status_code == 403


async def test_a_tenant_cannot_have_a_dead_letter_released_as_something_else(api: Api) -> None:
    """Releasing goes by a key of repetition in the tenant's own name; one that the tenant took first is refused."""
    video_id = (await api.http.post("/v1/videos", json={"prompt": "a mill"})).json()["id"]
    await api.fail(video_id)
    taken = {"idempotency-key": f"release:{video_id}"}
    (await api.http.post("/v1/videos", json={"prompt": "another"}, headers=taken)).raise_for_status()
    async with holding(api, *ROLES[Role.OPERATOR]) as http:
        answer = await http.post(f"{ADMIN}/dead_letters/{video_id}/release")
        assert refused(answer) == (400, "wrong_state", None)
        assert (await http.get(f"{ADMIN}/jobs/{video_id}")).json()["dead_letter"] is None
