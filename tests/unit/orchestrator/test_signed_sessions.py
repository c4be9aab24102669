"""URLs that are signed with temporary credentials claim no more than those last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import RefreshableCredentials

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings

SETTINGS = S3Settings(endpoint_url="http://127.0.0.1:9", access_key="base", secret_key="secret")


def with_session(objects: S3Objects, *lasts_s: float) -> None:
    """Credentials of sessions that last so long, the next one whenever they are renewed."""
    sessions = iter(lasts_s)

    def renew() -> dict[str, str]:
        ends = datetime.now(UTC) + timedelta(seconds=next(sessions))
        return {"access_key": "temp", "secret_key": "s", "token": "t", "expiry_time": ends.isoformat()}

    credentials = RefreshableCredentials.create_from_metadata(renew(), renew, "test")
    objects._signing_client._request_signer._credentials = credentials  # type: ignore[attr-defined]


def signed(objects: S3Objects, lifetime_s: int = 86400) -> dict[str, list[str]]:
    return parse_qs(urlsplit(objects.presign("videos/a/1/video.mp4", lifetime_s=lifetime_s)).query)


def test_a_url_ends_with_the_session_that_signed_it_and_says_so() -> None:
    objects = S3Objects(SETTINGS)
    with_session(objects, 3600)
    assert 3590 <= int(signed(objects)["X-Amz-Expires"][0]) <= 3600
    assert signed(objects, 600)["X-Amz-Expires"] == ["600"]


def test_a_session_that_is_soon_over_is_renewed_before_it_signs() -> None:
    objects = S3Objects(SETTINGS)
    with_session(objects, 60, 7200)
    assert 7190 <= int(signed(objects)["X-Amz-Expires"][0]) <= 7200


def test_what_lasts_signs_for_as_long_as_is_asked() -> None:
    assert signed(S3Objects(SETTINGS))["X-Amz-Expires"] == ["86400"]


def test_keys_that_sign_in_the_place_of_a_session_are_used_for_urls_alone() -> None:
    settings = SETTINGS.model_copy(update={"signing_access_key": "lasting"})
    objects = S3Objects(S3Settings.model_validate(settings.model_dump() | {"signing_secret_key": "s"}))
    query = signed(objects)
    assert query["X-Amz-Credential"][0].startswith("lasting/")
    assert query["X-Amz-Expires"] == ["86400"]
    assert objects._client is not objects._signing_client
    with pytest.raises(ValueError, match="need each other"):
        S3Settings(signing_access_key="lasting")
