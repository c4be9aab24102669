"""How a file is cut into parts."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.s3 import transfer_config

MIB = 2**20


@given(st.integers(0, 5 * 2**40))
def test_no_upload_has_more_parts_than_s3_takes_nor_smaller_ones(size: int) -> None:
    """S3: at most 10,000 parts of at least 5 MiB each, and an object of at most 5 TiB."""
    chosen = transfer_config(size, 16 * MIB)
    assert math.ceil(size / chosen.multipart_chunksize) <= 10_000
    assert chosen.multipart_chunksize >= 5 * MIB


def test_the_parts_of_a_video_stay_small() -> None:
    assert transfer_config(100 * MIB, 16 * MIB).multipart_chunksize == 8 * MIB
    assert transfer_config(100 * MIB, 16 * MIB).multipart_threshold == 16 * MIB
