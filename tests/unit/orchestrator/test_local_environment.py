"""What of a shell's environment a local stack's processes get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from botocore.session import Session

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.addresses import is_loopback
from orchestrator.local.environment import cleaned

HOME = Path("/stack/home")


@pytest.mark.parametrize(
    "name",
    [
        *("PGHOST", "PGPASSWORD", "PGSERVICE", "PGOPTIONS", "PGSSLMODE", "PGSSLROOTCERT", "PGTARGETSESSIONATTRS"),
        *("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "BOTO_CONFIG"),
        *("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_RUNTIME_ENV_HOOK", "WEB_CONCURRENCY", "LANG", "LC_CTYPE", "LANGUAGE"),
        *("PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONIOENCODING"),
    ],
)
def test_what_would_steer_a_part_elsewhere_is_dropped(name: str) -> None:
    assert name not in cleaned({name: "x"}, HOME)


@pytest.mark.parametrize(
    "name",
    ["PATH", "PYTHONPATH", "HF_TOKEN", "HTTPS_PROXY", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "SSL_CERT_FILE"],
)
def test_what_is_the_owners_stays(name: str) -> None:
    assert cleaned({name: "x"}, HOME)[name] == "x"


def test_no_proxy_takes_what_goes_to_the_loopback() -> None:
    kept = cleaned({"http_proxy": "http://p", "NO_PROXY": "corp.example, 10.0.0.0/8"}, HOME)
    assert kept["no_proxy"] == kept["NO_PROXY"] == "corp.example,10.0.0.0/8,127.0.0.1,localhost,::1"


def test_text_is_utf_8_whatever_the_terminal_speaks() -> None:
    kept = cleaned({"LC_ALL": "C", "LANG": "de_DE.ISO-8859-1"}, HOME)
    assert (kept["LC_ALL"], kept["PYTHONUTF8"]) == ("C.UTF-8", "1")


def test_a_home_that_is_missing_or_no_directory_is_the_stacks(tmp_path: Path) -> None:
    assert cleaned({"HOME": str(tmp_path)}, HOME)["HOME"] == str(tmp_path)
    for told in ({}, {"HOME": ""}, {"HOME": "/no/such/place"}, {"HOME": os.devnull}):
        assert cleaned(told, HOME)["HOME"] == str(HOME)


def test_where_keys_are_given_no_profile_is_looked_for_and_the_loopback_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    given = S3Settings(endpoint_url="http://127.0.0.1:1", access_key="a", secret_key="b")
    assert proxies_of(given) == {}
    elsewhere = given.model_copy(update={"endpoint_url": "http://s3.example"})
    assert proxies_of(elsewhere)["http"] == "http://127.0.0.1:9"
    with pytest.raises(Exception, match="nobody"):  # where none are given, it is the owner's own choice
        Session().get_scoped_config()


def proxies_of(settings: S3Settings) -> dict[str, str]:
    proxies: dict[str, str] = S3Objects(settings)._client._endpoint.http_session._proxy_config._proxies  # type: ignore[attr-defined]
    return proxies


def test_the_loopback_is_known_by_name_and_by_number() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]")))
    assert not any(map(is_loopback, ("", "localhost.example", "10.0.0.1", "0.0.0.0", "s3")))
