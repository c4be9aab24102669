"""File names for custom ids: whatever an id says, its file lies in the directory, and no two ids share one."""

from __future__ import annotations

import hashlib
import os
import unicodedata

from cogmill_client.errors import ConfigurationError

_LONGEST_BYTES = 200
# Names of devices, with or without an ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def safe_name(custom_id: str) -> str:
    """The id, its letters and digits of any language and `-_.~` kept and the bytes of everything else percent-encoded.

    That is how the server names what it delivers, and `cogmill manifest verify --objects DIRECTORY` looks for it. One
    that would be too long for a file system is cut, with a digest that keeps it apart.
    """
    if not custom_id.strip("."):
        name = custom_id.replace(".", "%2E")
    else:
        name = "".join(letter if _kept(letter) else _encoded(letter) for letter in custom_id)
    device = os.name == "nt" and name.partition(".")[0].lower() in _DEVICES
    return _marked(name, custom_id) if device or len(name.encode()) > _LONGEST_BYTES else name


class Names:
    """Hands out names that also differ where a file system takes `Mug` and `mug` for the same."""

    def __init__(self, pattern: str) -> None:
        if "{custom_id}" not in pattern:
            raise ConfigurationError("pattern: must have {custom_id} in it")
        self._pattern = pattern
        # By a hash of what such a file system compares, so that a million take little memory.
        self._taken: dict[int, str] = {}

    def name(self, custom_id: str) -> str:
        """The path below the directory. Asked again for the same id, it is the same."""
        name = safe_name(custom_id)
        folded = hash(unicodedata.normalize("NFC", name).casefold())
        if self._taken.setdefault(folded, custom_id) != custom_id:
            name = _marked(name, custom_id)
        return self._pattern.replace("{custom_id}", name)


def _marked(name: str, custom_id: str) -> str:
    """With a digest of the id behind `%-`, which no encoded id has in it."""
    digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    while len(name.encode()) > _LONGEST_BYTES - 18:
        name = name[:-1]
    return f"{name}%-{digest}"


def _kept(letter: str) -> bool:
    return letter in "-_.~" or unicodedata.category(letter)[0] in "LMN"


def _encoded(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
