"""An OpenID Connect issuer of the tests' own, over HTTP on 127.0.0.1: discovery, public keys, tokens, signing in."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "cogmill"
DISCOVERY, JWKS = "/.well-known/openid-configuration", "/keys"
AUTHORIZE, TOKEN = "/authorize", "/token"
CLIENT = "cogmill-console"
_JWKS: dict[str, Any] = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}


def secret_key(algorithm: str = "ES256") -> Any:
    """A new one for this algorithm."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: Any, kid: str, algorithm: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_JWKS[algorithm[:2]].to_jwk(key.public_key()))
    return {**{name: value for name, value in shown.items() if name != "key_ops"}, "kid": kid, "use": "sig"}


@dataclass
class Issuer:
    """`asked` counts what it was asked for, by path. While `open` is cleared it does not answer."""

    url: str = ""
    algorithm: str = "ES256"
    kid: str = "first"
    # Whatever it shows, by path: a status and a body. Without one it shows what an issuer does.
    instead: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    open: threading.Event = field(default_factory=threading.Event)
    # Who signs in: what the ID token says beside the usual; and what is asked of it at both endpoints.
    person: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    redeemed: list[dict[str, str]] = field(default_factory=list)
    secret: str | None = None
    # Whatever comes back with the code, instead of what should; None leaves it out.
    answers: dict[str, str | None] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _keys: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.open.set()
        self.rotate(self.kid, self.algorithm)

    def rotate(self, kid: str, algorithm: str = "ES256", *, keep: bool = False) -> None:
        """Sign with a new key from now on, and show that one; `keep` shows the old ones, too."""
        self._keys = {**(self._keys if keep else {}), kid: (secret_key(algorithm), algorithm)}
        self.kid, self.algorithm = kid, algorithm

    @property
    def key(self) -> Any:
        """That it signs with."""
        return self._keys[self.kid][0]

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [public_jwk(key, kid, algorithm) for kid, (key, algorithm) in self._keys.items()]}

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Those of a good token with these changed; None takes one away."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300}
        return {name: value for name, value in {**usual, **claims}.items() if value is not None}

    def token(self, headers: dict[str, Any] | None = None, *, key: Any = None, **claims: Any) -> str:
        """A token that it signs, or whoever has `key`."""
        head = {"kid": self.kid, **(headers or {})}
        return jwt.encode(
            self.claims(**claims),
            self.key if key is None else key,
            algorithm=head.pop("alg", self.algorithm),
            headers={name: value for name, value in head.items() if value is not None},
        )

    def page(self, path: str) -> tuple[int, bytes]:
        if path in self.instead:
            return self.instead[path]
        if path == DISCOVERY:
            ends = {"authorization_endpoint": self.url + AUTHORIZE, "token_endpoint": self.url + TOKEN}
            return 200, json.dumps({"issuer": self.url, "jwks_uri": self.url + JWKS} | ends | self.document).encode()
        return (200, json.dumps(self.jwks).encode()) if path == JWKS else (404, b"")

    def code_for(self, asked: dict[str, str]) -> str:
        """A code as somebody gets it who signs in with this request. It is good once."""
        code = f"code-{len(self.requests)}-{time.monotonic_ns()}"
        self.requests.append(asked)
        self._codes[code] = asked
        return code

    def back(self, asked: dict[str, str]) -> str:
        """Where the browser is led once somebody has signed in."""
        said = {"code": self.code_for(asked), "state": asked["state"]} | self.answers
        return f"{asked['redirect_uri']}?{urlencode({name: it for name, it in said.items() if it is not None})}"

    def redeem(self, fields: dict[str, str], authorization: str | None) -> tuple[int, bytes]:
        """As RFC 6749, section 4.1.3 and RFC 7636, section 4.6 have it."""
        self.redeemed.append(fields)
        asked = self._codes.pop(fields.get("code", ""), None)
        challenge = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        basic = base64.b64encode(f"{CLIENT}:{quote_plus(self.secret or '')}".encode()).decode()
        known = fields.get("client_id") == CLIENT if self.secret is None else authorization == f"Basic {basic}"
        if (
            asked is None
            or not known
            or fields.get("redirect_uri") != asked["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return 400, json.dumps({"error": "invalid_grant"}).encode()
        claims = {"aud": CLIENT, "nonce": asked["nonce"]} | self.person
        return 200, json.dumps({"id_token": self.token(**claims), "token_type": "Bearer", "access_token": "x"}).encode()


@contextmanager
def issuing(
    *, certificate: tuple[Path, Path] | None = None, host: str = "127.0.0.1", **options: Any
) -> Iterator[Issuer]:
    """An issuer for the block, over https where it has a certificate and its key. `host` is what it calls itself."""
    issuer = Issuer(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked[self.path] += 1
            issuer.open.wait(30)
            place, _, query = self.path.partition("?")
            if place == AUTHORIZE:
                self.send_response(302)
                self.send_header("location", issuer.back(dict(parse_qsl(query))))
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self._answer(*issuer.page(self.path))

        def do_POST(self) -> None:
            issuer.asked[self.path] += 1
            issuer.open.wait(30)
            fields = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
            self._answer(*issuer.redeem(fields, self.headers.get("authorization")))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            with suppress(ConnectionError):  # who asked has hung up, as it should
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests count."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer.url = f"http{'s' if certificate else ''}://{host}:{server.server_port}"
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
