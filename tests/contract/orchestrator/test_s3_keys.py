"""Keys of S3 that are changed: whoever has them from files signs with the new ones, without a new client."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator import config
from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.s3_keys import KeysOfFiles
from orchestrator.config import Settings
from orchestrator.domain.errors import ObjectsRefused
from orchestrator.local import process, s3
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.secrets import SecretsFolder


def settings() -> Settings:
    return config.load(
        database_url="postgresql://h/d",
        master_key="sixteen characters",
        default_model="small",
        models={"small": {"family": "tiny-2b", "path": "/models/small"}},
        pools={"gpu": {"model": "small"}},
    )


def restart_with(server: S3Server, access: str, secret: str) -> None:
    """The same server, which knows another pair of keys."""
    process.stop(server.process)
    log = server.directory / "log"
    server.process = s3.start(server.data_dir, server.port, access, secret, log)
    s3.wait_ready(server.process, server.port, log)


def signer_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].partition("/")[0]


def test_the_next_request_is_signed_with_the_new_keys(
    own_s3_server: S3Server, secrets_folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = own_s3_server.new_bucket().bucket
    secrets_folder.write(s3__access_key=ACCESS_KEY, s3__secret_key=SECRET_KEY)
    monkeypatch.setenv("COGMILL_S3__ENDPOINT_URL", f"http://127.0.0.1:{own_s3_server.port}")
    monkeypatch.setenv("COGMILL_S3__BUCKET", bucket)
    loaded = settings()
    objects = S3Objects(loaded.s3, loaded.s3_files)
    objects.put("a", b"before", "text/plain")
    assert signer_of(objects.presign("a", lifetime_s=60)) == ACCESS_KEY

    restart_with(own_s3_server, "tests-other", "tests-other-secret")
    with pytest.raises(ObjectsRefused):
        objects.get("a")
    secrets_folder.write(s3__access_key="tests-other", s3__secret_key="tests-other-secret")

    assert objects.get("a") == b"before"
    objects.put("b", b"after", "text/plain")
    assert signer_of(objects.presign("b", lifetime_s=60)) == "tests-other"


def test_keys_that_sign_urls_alone_are_read_again_too(secrets_folder: SecretsFolder) -> None:
    both = {"s3__access_key": "store", "s3__secret_key": "s"}
    secrets_folder.write(**both, s3__signing_access_key="sign-1", s3__signing_secret_key="s")
    loaded = settings()
    objects = S3Objects(loaded.s3, loaded.s3_files)
    assert signer_of(objects.presign("a", lifetime_s=60)) == "sign-1"
    assert signer_of(objects.presign_put("a", lifetime_s=60)) == "sign-1"

    secrets_folder.write(**both, s3__signing_access_key="sign-2", s3__signing_secret_key="s")

    assert signer_of(objects.presign("a", lifetime_s=60)) == "sign-2"


@pytest.mark.parametrize(
    ("variable", "text"),
    [("COGMILL_S3__ACCESS_KEY", "environment"), ("COGMILL_S3", '{"access_key": "environment", "secret_key": "s"}')],
)
def test_keys_of_which_one_comes_from_elsewhere_stay_what_they_are(
    secrets_folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    secrets_folder.write(s3__access_key="file", s3__secret_key="s")
    loaded = settings()
    objects = S3Objects(loaded.s3, loaded.s3_files)
    secrets_folder.write(s3__access_key="file-2", s3__secret_key="s2")

    assert signer_of(objects.presign("a", lifetime_s=60)) == "environment"


def test_keys_that_change_while_a_process_starts_are_not_missed(secrets_folder: SecretsFolder) -> None:
    secrets_folder.write(s3__access_key="one", s3__secret_key="s")
    loaded = settings()
    secrets_folder.write(s3__access_key="two", s3__secret_key="s")
    objects = S3Objects(loaded.s3, loaded.s3_files)

    assert signer_of(objects.presign("a", lifetime_s=60)) == "two"


@pytest.mark.parametrize("wrong", [{"access": "new", "secret": ""}, {"access": "", "secret": ""}, {}], ids=str)
def test_half_a_change_leaves_both_keys_as_they_were(tmp_path: Path, wrong: dict[str, str]) -> None:
    files = {name: tmp_path / name for name in ("access", "secret")}
    for name, file in files.items():
        file.write_text(f"{name} 1")
    keys = KeysOfFiles(files["access"], files["secret"])
    for name, file in files.items():
        file.unlink()
        if name in wrong:
            file.write_text(wrong[name])
    assert keys.get_frozen_credentials()[:2] == ("access 1", "secret 1")

    for name, file in files.items():
        file.write_text(f"{name} 2")

    assert keys.get_frozen_credentials()[:2] == ("access 2", "secret 2")
