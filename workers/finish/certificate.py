"""Who signs the provenance of a video: the operator's certificate, or one that is made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.domain.errors import ConfigError

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_DIGITAL_SIGNATURE, _SIGN_CERTIFICATES = 0, 5


@dataclass(frozen=True)
class Credential:
    """A certificate chain (PEM, the signer's first), its private key (PEM), and the C2PA name of the algorithm."""

    chain: bytes
    key: bytes
    algorithm: str


def read(certificate: Path, key: Path) -> Credential:
    """The operator's. Raises `ConfigError` that names the setting when a file is unreadable or the two do not fit."""
    try:
        chain = certificate.read_bytes()
        signer = x509.load_pem_x509_certificates(chain)[0]
    except (OSError, ValueError) as error:
        raise ConfigError(f"finish.certificate: {certificate} is no PEM certificate: {error}") from error
    try:
        pem = key.read_bytes()
        private = serialization.load_pem_private_key(pem, password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise ConfigError(f"finish.certificate_key: {key} is no unencrypted PEM private key: {error}") from error
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*spki) != signer.public_key().public_bytes(*spki):
        raise ConfigError(f"finish.certificate_key: {key} is not the key of {certificate}")
    match private:
        case ec.EllipticCurvePrivateKey() if private.curve.name in _CURVES:
            algorithm = _CURVES[private.curve.name]
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case _:
            raise ConfigError(f"finish.certificate_key: {key} must be EC P-256, P-384 or P-521, RSA, or Ed25519")
    return Credential(chain=chain, key=pem, algorithm=algorithm)


def make() -> Credential:
    """A test certificate under an authority of its own, for this process only and never written to a disk.

    It proves that a video was not changed since it was signed, and nothing about who signed it: every verifier will
    call the signer untrusted, rightly. The profile is that of C2PA 2.1, section 14.5: ES256, not self-signed, and the
    key usage that signs documents.
    """
    authority_key, signer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name, signer_name = _name("Cogmill test authority"), _name("Cogmill test signer")
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _certificate(authority_name, authority_key, authority_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(_SIGN_CERTIFICATES), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    signer = (
        _certificate(signer_name, signer_key, authority_name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(_DIGITAL_SIGNATURE), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Credential(
        chain=signer.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM),
        key=signer_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        algorithm="es256",
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cogmill (made on the spot, not to be trusted)"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # verifiers' clocks differ
        .not_valid_after(now + timedelta(days=365))  # and no worker lives as long
    )


def _usage(allowed: int) -> x509.KeyUsage:
    """Only one of the nine usages, in the order of RFC 5280, section 4.2.1.3."""
    return x509.KeyUsage(*(index == allowed for index in range(9)))
