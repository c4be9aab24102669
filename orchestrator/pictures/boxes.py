"""Pictures in ISO's containers (HEIC, AVIF): which brands a file names, and the largest picture that it holds. Pure.

Sources: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (`ispe`, grids), the AV1 bitstream specification, section 5.5. What
an AVIF's items say of themselves is not believed: their sequence headers and grids are what its decoder goes by.
(libheif refuses a HEVC picture that is larger than its `ispe`.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.domain.catalog import Size

_SEQUENCE_HEADER = 1


def brands(data: bytes) -> frozenset[bytes]:
    """What the file says that it is, in four letters each; nothing for one that is no container of ISO's."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4]), len(data) - 3)
    return frozenset([data[8:12], *(data[at : at + 4] for at in range(16, end, 4))])


def largest_picture(data: bytes) -> Size | None:
    """(width, height) of the picture of most pixels in it, tiles, thumbnails and grids included; None without one.

    None, too, where it cannot be told.
    """
    try:
        meta = _one(data, 0, len(data), b"meta")
        start = meta.start + 4  # past version and flags
        found = [
            (int.from_bytes(data[box.start + 4 : box.start + 8]), int.from_bytes(data[box.start + 8 : box.start + 12]))
            for properties in _named(data, start, meta.end, b"iprp")
            for container in _named(data, properties.start, properties.end, b"ipco")
            for box in _named(data, container.start, container.end, b"ispe")
        ]
        found += _coded(data, start, meta.end)
        return max(found, key=lambda size: size[0] * size[1])
    except (ValueError, IndexError):  # it ends too early, or promises what is not there
        return None


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a box's content is."""

    kind: bytes
    start: int
    end: int


def _boxes(data: bytes, at: int, end: int) -> Iterator[_Box]:
    while at + 8 <= end:
        size, kind, start = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16]), at + 16
        close = end if size == 0 else at + size
        if not start <= close <= end:
            raise ValueError("a box that reaches beyond what it is in")
        yield _Box(kind, start, close)
        at = close


def _named(data: bytes, at: int, end: int, kind: bytes) -> Iterator[_Box]:
    return (box for box in _boxes(data, at, end) if box.kind == kind)


def _one(data: bytes, at: int, end: int, kind: bytes) -> _Box:
    box = next(_named(data, at, end, kind), None)
    if box is None:
        raise ValueError(f"no {kind!r}")
    return box


class _Reader:
    """Reads big-endian numbers one after the other."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def number(self, size: int) -> int:
        if self._at + size > self._end:
            raise ValueError("it ends too early")
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at])


def _coded(data: bytes, start: int, end: int) -> list[Size]:
    """What the decoder of an AVIF will find in its items: frames of AV1, and grids of them."""
    kinds = _item_kinds(data, start, end)
    if not set(kinds.values()) & {b"av01", b"grid"}:
        return []
    found = []
    for item, content in _contents(data, start, end, kinds).items():
        if kinds[item] == b"av01":
            found += list(_sequences(content))
        else:
            found.append(_grid(content))
    return found


def _item_kinds(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Of each item (`infe`, version 2 or 3) its type."""
    kinds = {}
    for info in _named(data, start, end, b"iinf"):
        head = info.start + (6 if data[info.start] == 0 else 8)
        for entry in _named(data, head, info.end, b"infe"):
            version, reader = data[entry.start], _Reader(data, entry.start + 4, entry.end)
            item = reader.number(2 if version == 2 else 4)
            reader.number(2)
            kinds[item] = reader.number(4).to_bytes(4)
    return kinds


def _contents(data: bytes, start: int, end: int, kinds: Mapping[int, bytes]) -> dict[int, bytes]:
    """The bytes of the items that are AV1 or grids, by `iloc`."""
    box = _one(data, start, end, b"iloc")
    inside = next(_named(data, start, end, b"idat"), None)
    version, reader = data[box.start], _Reader(data, box.start + 4, box.end)
    sizes = reader.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    found: dict[int, bytes] = {}
    for _ in range(reader.number(wide)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base = reader.number(base_size)
        content = b""
        for _ in range(reader.number(2)):
            reader.number(index_size)
            at, length = base + reader.number(offset_size), reader.number(length_size)
            if kinds.get(item) in (b"av01", b"grid"):
                content += _extent(data, at, length, method, inside)
        if kinds.get(item) in (b"av01", b"grid"):
            found[item] = content
    return found


def _extent(data: bytes, at: int, length: int, method: int, inside: _Box | None) -> bytes:
    """A piece of an item: of the file, or of the box `idat`. A length of 0 is all that follows."""
    if method > 1 or (method == 1 and inside is None):
        raise ValueError("an item that is made of others")
    start, end = (0, len(data)) if inside is None or method == 0 else (inside.start, inside.end)
    close = end if length == 0 else start + at + length
    if close > end:
        raise ValueError("an item that reaches beyond its file")
    return data[start + at : close]


def _grid(content: bytes) -> Size:
    """What the tiles of a grid are put together to (ISO/IEC 23008-12, section 6.6.2.3)."""
    size = 4 if content[1] & 1 else 2
    reader = _Reader(content, 4, len(content))
    return reader.number(size), reader.number(size)


def _sequences(content: bytes) -> Iterator[Size]:
    """The largest frame that each sequence header of some AV1 allows; its OBUs are read one after the other."""
    at, seen = 0, False
    while at < len(content):
        head = content[at]
        at += 2 if head & 4 else 1
        size = len(content) - at
        if head & 2:
            size = 0
            for place in range(8):
                byte = content[at]
                at += 1
                size |= (byte & 0x7F) << 7 * place
                if not byte & 0x80:
                    break
        if at + size > len(content):
            raise ValueError("an OBU that reaches beyond its item")
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            seen = True
            yield _sequence(content[at : at + size])
        at += size
    if not seen:
        raise ValueError("AV1 without a sequence header")


def _sequence(payload: bytes) -> Size:
    """From a sequence header (section 5.5.1)."""
    bits = _Bits(payload)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(zeros)
        if bits.take(1):  # a decoder's model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    modelled, displayed = delay_bits > 0, bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if modelled and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if displayed and bits.take(1):
            bits.take(4)


class _Bits:
    """Reads bits, the highest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> int:
        value = 0
        for at in range(self._at, self._at + count):
            value = value << 1 | self._data[at >> 3] >> (7 - (at & 7)) & 1  # beyond the end: IndexError
        self._at += count
        return value
