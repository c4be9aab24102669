"""The environment that a stack's processes live in: its owner's, without what would steer its parts elsewhere.

A laptop's shell is set up for other things: proxies, profiles of a cloud, another database, another cluster. The
stack's own parts are on the loopback, and their addresses and keys are in its file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

# Read by libpq and asyncpg (PostgreSQL's documentation, "Environment Variables").
_LIBPQ = re.compile(
    r"PG(HOST|HOSTADDR|PORT|DATABASE|USER|PASSWORD|PASSFILE|SERVICE|SERVICEFILE|OPTIONS|APPNAME|SYSCONFDIR|LOCALEDIR"
    r"|CHANNELBINDING|REQUIREAUTH|REQUIREPEER|REQUIRESSL|SSL\w+|GSS\w+|KRB\w+|CONNECT_TIMEOUT|CLIENTENCODING|DATESTYLE"
    r"|TZ|GEQO|TARGETSESSIONATTRS|LOADBALANCEHOSTS|M(IN|AX)PROTOCOLVERSION|DATA)"
)
# Python's own switches, but for those that say where packages and bytecode are: code of the owner's may be there.
_PYTHON = re.compile(r"PYTHON(?!PATH$|USERBASE$|NOUSERSITE$|DONTWRITEBYTECODE$|PYCACHEPREFIX$)\w*")
# Clouds' credentials and endpoints, which boto3 reads; Ray's; the language of messages; uvicorn's number of processes.
_OTHERS = re.compile(r"AWS_\w+|BOTO_CONFIG|RAY_\w+|LC_\w+|LANG|LANGUAGE|WEB_CONCURRENCY")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# With text in UTF-8 whatever the terminal's language, and no other file of a cloud's settings than an empty one.
_SETTLED = {
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def cleaned(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """What is left for a stack, and what is set for it. `home` is the home of whoever has none that can be written.

    Proxies stay, for what is fetched from the Hub, and never take what goes to the loopback.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not any(pattern.fullmatch(name) for pattern in (_LIBPQ, _PYTHON, _OTHERS))
    }
    spared = [part for name in ("no_proxy", "NO_PROXY") for part in kept.get(name, "").split(",") if part.strip()]
    no_proxy = ",".join(dict.fromkeys([*map(str.strip, spared), *_LOOPBACK]))
    own = kept.get("HOME", "")
    usable = bool(own) and Path(own).is_dir() and os.access(own, os.W_OK | os.X_OK)
    return kept | _SETTLED | {"NO_PROXY": no_proxy, "no_proxy": no_proxy, "HOME": own if usable else str(home)}
