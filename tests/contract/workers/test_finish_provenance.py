"""What a finished video says of its origin, read back with C2PA's own reader and with any player's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.config import FinishSettings
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import public_id
from tests.support.finishing import CPU, an_assignment_of, finish, plain_finisher
from tests.support.frames import moving
from workers.finish import Finisher, certificate
from workers.finish.provenance import MADE_BY_AI, RENDER

FRAMES = moving(9, 64, 96)


def read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        store: dict[str, Any] = json.loads(reader.json())
    return store


def codes(store: dict[str, Any]) -> set[str]:
    return {status["code"] for status in store.get("validation_status", ())}


def assertion(store: dict[str, Any], label: str) -> Any:
    manifest = store["manifests"][store["active_manifest"]]
    return next(item["data"] for item in manifest["assertions"] if item["label"] == label)


def test_the_manifest_says_that_it_was_made_by_ai_and_how(tmp_path: Path) -> None:
    assignment = an_assignment_of(FRAMES)
    finished = plain_finisher().finish(assignment, FRAMES, tmp_path, on_progress=lambda: None)
    store = read(finished.video)
    (action,) = assertion(store, "c2pa.actions.v2")["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", MADE_BY_AI)
    assert assertion(store, RENDER) == {"model": "tiny-2b", "seed": 7, "job": public_id(assignment.job_id)}
    (generator,) = store["manifests"][store["active_manifest"]]["claim_generator_info"]
    assert (generator["name"], generator["version"]) == ("Cogmill", version("cogmill"))
    assert assignment.spec.prompt not in finished.video.read_bytes().decode("latin-1")


def test_plain_metadata_says_the_same(tmp_path: Path) -> None:
    assignment = an_assignment_of(FRAMES)
    finished = plain_finisher().finish(assignment, FRAMES, tmp_path, on_progress=lambda: None)
    with av.open(str(finished.video)) as container:
        said = container.metadata
    assert said["digital_source_type"] == MADE_BY_AI
    assert (said["model"], said["seed"], said["job"]) == ("tiny-2b", "7", public_id(assignment.job_id))
    assert said["software"] == f"Cogmill {version('cogmill')}"


def test_the_signature_is_valid_and_the_test_certificate_untrusted(tmp_path: Path) -> None:
    store = read(finish(FRAMES, tmp_path).video)
    assert store["validation_state"] == "Valid"
    assert codes(store) == {"signingCredential.untrusted"}


@pytest.mark.parametrize("where", ["first picture", "last byte"])
def test_one_changed_byte_of_the_pictures_breaks_the_seal(tmp_path: Path, where: str) -> None:
    video = finish(FRAMES, tmp_path).video
    data = bytearray(video.read_bytes())
    at = data.index(b"mdat") + 100 if where == "first picture" else len(data) - 1
    data[at] ^= 1
    video.write_bytes(data)
    store = read(video)
    assert store["validation_state"] == "Invalid"
    assert "assertion.bmffHash.mismatch" in codes(store)


# ---------------------------------------------------------------- the operator's certificate


def pem(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def web_server() -> tuple[bytes, bytes]:
    """A certificate, and its key, such as a web server has: in order, and not for documents."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM), pem(key)


def settings(directory: Path, chain: bytes, key: bytes) -> FinishSettings:
    (directory / "chain.pem").write_bytes(chain)
    (directory / "key.pem").write_bytes(key)
    return FinishSettings(certificate=directory / "chain.pem", certificate_key=directory / "key.pem")


def test_the_operators_certificate_signs(tmp_path: Path) -> None:
    """Trusted by whoever trusts its authority."""
    own = certificate.make()
    finisher = Finisher.load(settings(tmp_path, own.chain, own.key), CPU)
    video = finish(FRAMES, tmp_path, by=finisher).video
    serial = x509.load_pem_x509_certificates(own.chain)[0].serial_number
    store = read(video)
    assert store["manifests"][store["active_manifest"]]["signature_info"]["cert_serial_number"] == str(serial)
    trust = {"trust": {"trust_anchors": own.chain.decode()}, "verify": {"verify_trust": True}}
    with video.open("rb") as file, c2pa.Context.from_dict(trust) as context:
        assert c2pa.Reader("video/mp4", file, context=context).get_validation_state() == "Trusted"


@pytest.mark.parametrize("broken", ["certificate", "key", "pair", "encrypted", "usage", "missing"])
def test_a_certificate_that_cannot_sign_keeps_the_worker_from_starting(tmp_path: Path, broken: str) -> None:
    own = certificate.make()
    chain, key, blame = own.chain, own.key, "finish.certificate_key: .*key.pem"
    match broken:
        case "certificate":
            chain, blame = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "finish.certificate: "
        case "key":
            key = b"no key"
        case "pair":
            key = certificate.make().key
        case "encrypted":
            key = pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
        case "usage":
            (chain, key), blame = web_server(), "finish.certificate: .*cannot sign for C2PA"
    given = settings(tmp_path, chain, key)
    if broken == "missing":
        (tmp_path / "chain.pem").unlink()
        blame = "finish.certificate: .*chain.pem"
    with pytest.raises(ConfigError, match=blame):
        Finisher.load(given, CPU)


def test_two_videos_are_finished_at_a_time(tmp_path: Path) -> None:
    """As a worker does; neither signature is of the other's pictures."""
    directories = [tmp_path / str(index) for index in range(4)]
    for directory in directories:
        directory.mkdir()
    with ThreadPoolExecutor(2) as threads:
        videos = [made.video for made in threads.map(lambda directory: finish(FRAMES, directory), directories)]
    stores = [read(video) for video in videos]
    assert [store["validation_state"] for store in stores] == ["Valid"] * 4
    assert len({assertion(store, RENDER)["job"] for store in stores}) == 4
