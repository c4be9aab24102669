"""Signed URLs are made without asking S3, so their form can be told without one."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings

KEYS = S3Settings(bucket="films", region="eu-west-1", access_key="AKIA", secret_key=SecretStr("secret"))


@pytest.mark.parametrize(
    ("endpoint", "public", "expected"),
    [
        (None, None, "https://films.s3.eu-west-1.amazonaws.com/videos/a/1/video.mp4"),
        ("http://s3.internal:9000", None, "http://s3.internal:9000/films/videos/a/1/video.mp4"),
        (
            "http://s3.internal:9000",
            "https://media.example.com",
            "https://media.example.com/films/videos/a/1/video.mp4",
        ),
        (
            "http://s3.internal:9000",
            "https://media.example.com/",
            "https://media.example.com/films/videos/a/1/video.mp4",
        ),
    ],
    ids=["AWS", "own endpoint", "public host", "public host with a slash"],
)
def test_a_url_is_signed_for_the_host_that_callers_reach(
    endpoint: str | None, public: str | None, expected: str
) -> None:
    settings = KEYS.model_copy(update={"endpoint_url": endpoint, "public_url": public})
    url = urlsplit(S3Objects(settings).presign("videos/a/1/video.mp4", lifetime_s=900))
    query = parse_qs(url.query)
    assert f"{url.scheme}://{url.netloc}{url.path}" == expected
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert "secret" not in url.query
