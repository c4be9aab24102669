"""ICC profiles by their bytes (ICC.1:2010), and what their colours are in sRGB, reckoned without LittleCMS.

Chromaticities: Display P3 (SMPTE EG 432-1 with D65), Adobe RGB (1998, section 4.3.1), sRGB (IEC 61966-2-1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_D65 = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Space:
    """A colour space of three lights under D65; `gamma` None is sRGB's curve."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    gamma: float | None = None

    @property
    def to_xyz(self) -> NDArray[np.float64]:
        """From linear lights to XYZ under D65 (SMPTE RP 177)."""
        lights = np.array([_xyz(*each) for each in (self.red, self.green, self.blue)]).T
        return lights * np.linalg.solve(lights, _xyz(*_D65))

    def linear(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.gamma is not None:
            return levels**self.gamma
        return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


SRGB = Space((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = Space((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = Space((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), gamma=563 / 256)


def in_srgb(space: Space, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Levels of 255 in sRGB of a colour in another space; what sRGB has not is clipped."""
    linear = np.linalg.inv(SRGB.to_xyz) @ space.to_xyz @ space.linear(np.array(colour) / 255)
    return encoded(linear)


def encoded(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB's levels of 255 for linear lights."""
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def lab_in_srgb(lightness: float, a: float, b: float) -> NDArray[np.float64]:
    """The same for CIELAB under D50, as profiles have it."""
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = _D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    return encoded(np.linalg.inv(_adapted(SRGB.to_xyz)) @ xyz)


def rgb_profile(space: Space, *, padding: int = 0) -> bytes:
    """Version 2, matrix and curves; `padding` bytes of noise make it larger."""
    columns = _adapted(space.to_xyz).T
    curve = _gamma(space.gamma) if space.gamma is not None else _table(space)
    noise = np.random.default_rng(1).bytes(padding)
    tags = {b"wtpt": _xyz_tag(_D50)}
    tags |= {name: _xyz_tag(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | ({b"nois": b"data\0\0\0\0" + noise} if padding else {}))


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz_tag(_D50), b"kTRC": _gamma(gamma)})


def cmyk_profile(inks: dict[tuple[int, int, int, int], tuple[float, float, float]]) -> bytes:
    """Of a press whose sixteen full overprints look like this in CIELAB; one that is not named is black."""
    grid = b""
    for number in range(16):
        lightness, a, b = inks.get(tuple(number >> place & 1 for place in (3, 2, 1, 0)), (0, 0, 0))
        grid += struct.pack(">3H", round(lightness * 652.8), round((a + 128) * 256), round((b + 128) * 256))
    straight = struct.pack(">2H", 0, 65535)
    identity = struct.pack(">9i", *(65536 if at % 4 == 0 else 0 for at in range(9)))
    lut = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + struct.pack(">2H", 2, 2)
    lut += straight * 4 + grid + straight * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz_tag(_D50), b"A2B0": lut, b"A2B1": lut})


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text(b"desc", b"a profile of the tests"), b"cprt": _text(b"text", b"none"), **tags}
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">2I", at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(65536 * value) for value in _D50))
    return head.ljust(128, b"\0") + table + body


def _text(kind: bytes, text: bytes) -> bytes:
    if kind == b"text":
        return b"text\0\0\0\0" + text + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)


def _xyz_tag(xyz: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * float(value)) for value in xyz))


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))


def _table(space: Space) -> bytes:
    levels = space.linear(np.linspace(0, 1, 1024))
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + (65535 * levels).round().astype(">u2").tobytes()


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1, (1 - x - y) / y])


def _adapted(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix to XYZ, from D65 to D50 (Bradford)."""
    ratio = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ _xyz(*_D65)))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ ratio @ _BRADFORD @ matrix
    return adapted
