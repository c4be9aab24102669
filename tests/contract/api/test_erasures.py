"""Administrators erase tenants by the API: named twice, never their own, with a receipt at the end."""

from __future__ import annotations

import pytest

from orchestrator.domain.rights import ROLES, Role
from tests.support.api import Api, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_tenant_is_erased_by_its_name_written_twice_and_its_key_says_so(api: Api) -> None:
    name = f"gone-{api.tenant}"
    path = f"/v1/admin/tenants/{name}/erasure"
    victim = await api.client(name)
    async with victim, in_process(api.app, await api.key(scopes=ROLES[Role.ADMIN])) as admin:
        assert (await victim.post("/v1/videos", json={"prompt": "a mill"})).is_success
        for body in ({}, {"confirm": api.tenant}, {"confirm": name, "sure": True}):
            answer = await admin.post(path, json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == ("sure" if "sure" in body else "confirm")
        assert (await victim.get("/v1/videos")).is_success
        asked = (await admin.post(path, json={"confirm": name})).raise_for_status().json()
        assert (asked["status"], asked["tenant"], asked["usage"]) == ("in_progress", name, "erased")
        assert (await admin.post(path, json={"confirm": name})).json() == asked
        assert (await admin.post(path, json={"confirm": name, "keep_usage": True})).status_code == 400
        assert (await admin.get(f"/v1/admin/erasures/{asked['id']}")).json() == asked
        assert (await admin.get("/v1/admin/erasures")).json()["data"][0] == asked
        receipt = await admin.get(f"/v1/admin/erasures/{asked['id']}/receipt")
        assert (receipt.status_code, receipt.json()["error"]["code"]) == (400, "wrong_state")
        api.services.keyring.forget(victim.headers["authorization"].removeprefix("Bearer ").split(".")[0])
        refused = await victim.post("/v1/videos", json={"prompt": "a mill"})
        assert refused.status_code == 401
        assert refused.json()["error"]["message"] == "the tenant of this API key is being erased"


async def test_nobody_erases_the_own_tenant_or_one_that_is_not_there(api: Api) -> None:
    async with in_process(api.app, await api.key(scopes=ROLES[Role.ADMIN])) as admin:
        own = await admin.post(f"/v1/admin/tenants/{api.tenant}/erasure", json={"confirm": api.tenant})
        assert (own.status_code, own.json()["error"]["code"]) == (400, "wrong_state")
        nobody = await admin.post("/v1/admin/tenants/nobody/erasure", json={"confirm": "nobody"})
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "not_found")
        assert (await admin.get("/v1/admin/erasures/erasure_1")).status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_who_is_no_administrator_erases_nobody(api: Api, role: Role) -> None:
    async with in_process(api.app, await api.key(scopes=ROLES[role])) as other:
        answer = await other.post("/v1/admin/tenants/nobody/erasure", json={"confirm": "nobody"})
        assert answer.status_code == 403
        assert (await other.get("/v1/admin/erasures")).is_success
        receipt = await other.get(f"/v1/admin/erasures/erasure_{'0' * 32}/receipt")
        assert receipt.status_code == 403
