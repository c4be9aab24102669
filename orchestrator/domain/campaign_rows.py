"""What became of one record of a campaign's input: rows to render, or a bad row with the reason. Pure values.

A row's body is JSON: `{"vars": {name: text}, "params": {...}}`, with `image` (`image_url`, `file_id` or `key`) where it
begins at a picture, and `variant` (from 1) where several are made of one record without seeds of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class NewRow(NamedTuple):  # made a million times, and a frozen dataclass takes three times as long to make
    """One video to render."""

    # The line, or the record of a Parquet file, from 1. Variants share it.
    line: int
    # Its owner's name for it.
    custom_id: str
    # JSON, as above, that a `jsonb` column takes. Nothing of what is read again from its file when its turn comes.
    body: str
    # Whether it begins at a picture.
    image: bool
    # Where its line lies in the file of a batch: from which byte on, and how many.
    at: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be rendered; it stops no other."""

    line: int
    # None where it is not even known.
    custom_id: str | None
    # The column or parameter to blame.
    field: str | None
    # A stable word for machines.
    code: str
    # One sentence for its owner.
    reason: str
