"""People: what claims mean, what settings are refused, and when an issuer is asked for its keys."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.config import OidcSettings, Settings, load
from orchestrator.domain.errors import IssuerUnavailable, NoAccess, Unauthenticated
from orchestrator.domain.people import claim_of, scopes_of, tenant_of
from orchestrator.domain.rights import ROLES, USUAL, Role, Scope
from orchestrator.tenants.jwks import KeySet
from tests.support.api import api_settings
from tests.support.issuer import public_jwk, secret_key
from tests.support.sources import ROOT

LEAST = {"issuer": "https://id.example", "audience": ["cogmill"], "tenant": "acme", "everybody": ["usual"]}
KEYCLOAK = {"realm_access": {"roles": ["viewer", "offline_access"]}, "a/b": {"~": "deep"}}
GIVES = {"admins": ["admin"], "ops": ["operator"], "lookers": ["viewer", "read"], "makers": ["usual"]}


class TestClaims:
    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("/realm_access/roles", ["viewer", "offline_access"]),
            ("/a~1b/~0", "deep"),
            ("realm_access.roles", None),
            ("/realm_access/roles/0", None),
            ("/nothing/there", None),
        ],
    )
    def test_one_is_found_by_its_name_or_by_a_pointer(self, name: str, found: object) -> None:
        assert claim_of(KEYCLOAK, name) == found

    @pytest.mark.parametrize(
        ("value", "scopes"),
        [
            ("admins", ROLES[Role.ADMIN]),
            (["ops"], ROLES[Role.OPERATOR]),
            (["lookers", "makers", "strangers"], {Scope.VIEW} | USUAL),
            (["makers", 7, None, {"admins": 1}, ["admins"]], USUAL),
        ],
    )
    def test_all_values_of_a_role_give_what_the_settings_say(self, value: object, scopes: set[Scope]) -> None:
        assert scopes_of({"groups": value}, "groups", GIVES, ()) == scopes

    @pytest.mark.parametrize("value", [None, [], "Admins", "admin", {"admins": True}, [["admins"]], 1, True])
    def test_what_gives_nothing_is_refused_and_no_claim_names_a_role_by_itself(self, value: object) -> None:
        with pytest.raises(NoAccess, match="gives no role"):
            scopes_of({"groups": value}, "groups", GIVES, ())
        assert scopes_of({"groups": value}, "groups", GIVES, ("read",)) == {Scope.READ}

    @pytest.mark.parametrize("value", [None, "", 7, True, ["acme"], {"acme": 1}, "a" * 201, "a\nb"])
    def test_a_tenant_is_a_text(self, value: object) -> None:
        with pytest.raises(NoAccess, match="'tid'"):
            tenant_of({"tid": value}, "tid", {})

    def test_values_of_a_tenants_claim_may_have_a_meaning_and_then_others_have_none(self) -> None:
        assert tenant_of({"tid": "acme"}, "tid", {}) == "acme"
        assert tenant_of({"tid": "7f3c"}, "tid", {"7f3c": "acme"}) == "acme"
        with pytest.raises(NoAccess, match="no tenant here"):
            tenant_of({"tid": "acme"}, "tid", {"7f3c": "acme"})


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"issuer": "http://id.example"}, "issuer"),
            ({"issuer": "ftp://id.example"}, "issuer"),
            ({"issuer": "https://user:word@id.example"}, "issuer"),
            ({"issuer": "https://[id"}, "issuer"),
            ({"jwks_url": "http://id.example/keys"}, "jwks_url"),
            ({"audience": []}, "audience"),
            ({"audience": [""]}, "audience"),
            ({"algorithms": ["HS256"]}, "algorithms"),
            ({"algorithms": ["none"]}, "algorithms"),
            ({"algorithms": []}, "algorithms"),
            ({"tenant": None}, "tenant"),
            ({"tenant_claim": "tid"}, "tenant"),
            ({"tenants": {"7f3c": "acme"}}, "tenants"),
            ({"everybody": []}, "roles"),
            ({"everybody": ["operate"]}, "everybody"),
            ({"roles": {"ops": ["operate"]}}, "roles"),
            ({"roles": {"ops": []}}, "roles"),
            ({"leeway_s": 301}, "leeway_s"),
            ({"keys_stale_s": 10}, "keys_stale_s"),
        ],
    )
    def test_bad_ones_are_refused_by_name(self, changes: dict[str, Any], named: str) -> None:
        with pytest.raises(ValidationError, match=named):
            OidcSettings.model_validate(LEAST | changes)

    def test_the_examples_of_operations_md_are_valid_and_mean_what_is_said(self) -> None:
        (example,) = re.findall(r"```toml\n(# Keycloak.+?)```", (ROOT / "OPERATIONS.md").read_text(), re.DOTALL)
        told = tomllib.loads(example)
        issuers = Settings.model_validate(api_settings("postgresql://nowhere/none").model_dump() | told).oidc
        assert sorted(issuers) == ["entra", "google", "media"]
        media, google = issuers["media"], issuers["google"]
        claims = {"realm_access": {"roles": ["video", "offline_access"]}, "hd": "example.com"}
        assert scopes_of(claims, media.role_claim, media.roles, media.everybody) == USUAL
        assert scopes_of(claims, google.role_claim, google.roles, google.everybody) == USUAL
        assert tenant_of(claims, google.tenant_claim or "", google.tenants) == "studio"

    def test_they_come_from_the_environment_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COGMILL_OIDC__CORP__ISSUER", "https://id.example")
        monkeypatch.setenv("COGMILL_OIDC__CORP__AUDIENCE", '["cogmill"]')
        monkeypatch.setenv("COGMILL_OIDC__CORP__TENANT", "acme")
        monkeypatch.setenv("COGMILL_OIDC__CORP__ROLES", '{"Cogmill.Admin": ["admin"]}')
        told = api_settings("postgresql://nowhere/none").model_dump(exclude={"oidc"})
        assert load(**told).oidc["corp"].roles == {"Cogmill.Admin": ("admin",)}

    def test_http_is_for_the_loopback(self) -> None:
        assert OidcSettings.model_validate(LEAST | {"issuer": "http://127.0.0.1:8080/realms/x"}).issuer

    @pytest.mark.parametrize(
        ("issuers", "head_bytes", "named"),
        [
            ({"corp": LEAST, "other": LEAST}, 32768, "oidc.other.issuer"),
            ({"Corp#": LEAST}, 32768, "oidc.Corp#"),
            ({"corp": LEAST}, 8192, "api.max_head_bytes"),
        ],
    )
    def test_issuers_are_told_apart_and_their_tokens_can_arrive(
        self, issuers: dict[str, Any], head_bytes: int, named: str
    ) -> None:
        whole = api_settings("postgresql://nowhere/none").model_dump() | {"oidc": issuers}
        whole["api"]["max_head_bytes"] = head_bytes
        with pytest.raises(ValidationError, match=named):
            Settings.model_validate(whole)


class Asked:
    """An issuer's keys, and a clock."""

    def __init__(self) -> None:
        self.keys: list[Mapping[str, Any]] = [public_jwk(secret_key(), "first", "ES256")]
        self.now = 1000.0
        self.calls = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Mapping[str, Any]:
        self.calls += 1
        await self.open.wait()
        if self.away:
            raise IssuerUnavailable("away")
        return {"keys": self.keys}

    def key_set(self) -> KeySet:
        return KeySet("corp", self, fresh_s=300, again_s=30, stale_s=3600, monotonic=lambda: self.now)


class TestKeys:
    async def test_whatever_befalls_the_call_is_an_answer(self) -> None:
        asked = Asked()
        asked.keys = None  # type: ignore[assignment]
        with pytest.raises(IssuerUnavailable, match="'corp'"):
            await asked.key_set().key("first", "ES256")

        async def breaks() -> Mapping[str, Any]:
            raise RuntimeError("nobody foresaw it")

        with pytest.raises(IssuerUnavailable, match="'corp'"):
            await KeySet("corp", breaks, fresh_s=300, again_s=30, stale_s=3600).key("first", "ES256")

    async def test_those_who_ask_at_once_share_one_call_and_it_outlives_the_first_of_them(self) -> None:
        asked = Asked()
        keys = asked.key_set()
        asked.open.clear()
        asking = [asyncio.create_task(keys.key("first", "ES256")) for _ in range(20)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        asked.open.set()
        found = await asyncio.gather(*asking[1:])
        assert (asked.calls, len(set(map(id, found)))) == (1, 1)

    async def test_an_unknown_one_is_asked_for_but_not_so_soon_again(self) -> None:
        asked = Asked()
        keys = asked.key_set()
        await keys.key("first", "ES256")
        for later in range(0, 91, 10):
            asked.now = 1000.0 + later
            with pytest.raises(Unauthenticated):
                await keys.key(f"made up {later}", "ES256")
        assert asked.calls == 4  # at 0, 30, 60 and 90 seconds
        asked.keys.append(public_jwk(secret_key(), "second", "ES256"))
        asked.now += 30
        await keys.key("second", "ES256")

    async def test_old_ones_are_read_again_so_that_one_taken_back_is_good_no_more(self) -> None:
        asked = Asked()
        keys = asked.key_set()
        await keys.key("first", "ES256")
        asked.keys = [public_jwk(secret_key(), "second", "ES256")]
        asked.now += 299
        await keys.key("first", "ES256")
        asked.now += 1
        with pytest.raises(Unauthenticated):
            await keys.key("first", "ES256")

    async def test_while_the_issuer_is_away_known_ones_go_on_until_they_are_too_old(self) -> None:
        asked = Asked()
        keys = asked.key_set()
        await keys.key("first", "ES256")
        asked.away = True
        asked.now += 3599
        await keys.key("first", "ES256")
        with pytest.raises(IssuerUnavailable):  # it may be one that came meanwhile
            await keys.key("second", "ES256")
        asked.now += 1
        with pytest.raises(IssuerUnavailable):
            await keys.key("first", "ES256")
        assert asked.calls == 2
        asked.away = False
        asked.now += 30
        await keys.key("first", "ES256")

    async def test_an_issuer_that_hangs_holds_known_ones_up_once(self) -> None:
        asked = Asked()
        keys = asked.key_set()
        await keys.key("first", "ES256")
        asked.away, asked.now = True, asked.now + 300
        await keys.key("first", "ES256")
        asked.open.clear()
        asked.now += 30
        await keys.key("first", "ES256")  # the call is under way, and never answered
        await asyncio.sleep(0)
        assert asked.calls == 3
        asked.open.set()

    @pytest.mark.parametrize(
        "changes", [{"use": "enc"}, {"alg": "RS256"}, {"d": "AQAB"}, {"kty": "oct", "k": "AQAB"}, {"x": 7}, {"kid": 1}]
    )
    async def test_what_is_no_public_key_for_signatures_is_none(self, changes: dict[str, Any]) -> None:
        asked = Asked()
        asked.keys = [{**asked.keys[0], **changes}, {"kid": "first", "kty": "oct", "k": "AQAB", "alg": "ES256"}]
        with pytest.raises(Unauthenticated):
            await asked.key_set().key("first", "ES256")

    async def test_what_is_none_hides_no_key_of_the_same_id(self) -> None:
        asked = Asked()
        asked.keys.insert(0, {"kid": "first", "kty": "oct", "k": "AQAB"})
        assert (await asked.key_set().key("first", "ES256")).key_type == "EC"

    async def test_a_token_without_a_keys_id_is_the_only_keys(self) -> None:
        asked = Asked()
        await asked.key_set().key(None, "ES256")
        asked.keys.append(public_jwk(secret_key(), "second", "ES256"))
        with pytest.raises(Unauthenticated):
            await asked.key_set().key(None, "ES256")
