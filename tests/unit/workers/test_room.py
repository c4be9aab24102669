"""What fits is decided before memory is spent; what does not is refused in one line: what, how much, what helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.errors import ConfigError
from workers.cogvideox import hostmemory
from workers.cogvideox.hostmemory import HostMemory
from workers.cogvideox.room import Chosen, Room, Setting, choose
from workers.cogvideox.weights import Weights

GIB = 2**30
TWO_B, FIVE_B, LATER = (FAMILIES[name] for name in ("cogvideox-2b", "cogvideox-5b", "cogvideox-1.5-5b-i2v"))
CHANNELS = 128


def a_part(part: str, numbers: float, in_dtype: str = "bfloat16", shards: int = 1) -> Weights:
    count = int(numbers)
    on_disk = count * (4 if in_dtype == "float32" else 2)
    wide = count // 5 if part == "text_encoder" else 0
    return Weights(
        part=part, numbers=count, wide=wide, on_disk=on_disk, largest_file=on_disk // shards, in_dtype=in_dtype
    )


# As published (tests/support/published.py).
SMALL = (a_part("text_encoder", 4.76e9, "float16", 2), a_part("transformer", 1.694e9, "float16"), a_part("vae", 216e6))
LARGE = (a_part("text_encoder", 4.76e9, "bfloat16", 2), a_part("transformer", 5.57e9), a_part("vae", 216e6))


def room(host: float, device: float | None = None, total: float | None = None) -> Room:
    memory = HostMemory(total=int((total or host) * GIB), available=int(host * GIB))
    return Room(host=memory, device=None if device is None else int(device * GIB))


def test_a_cpu_renders_in_32_bits_where_they_fit_else_in_16_and_says_why() -> None:
    assert choose("auto", TWO_B, SMALL, room(64), channels=CHANNELS) == Chosen("float32")
    chosen = choose("auto", TWO_B, SMALL, room(22.5, total=23.5), channels=CHANNELS)
    assert chosen.dtype == "bfloat16"
    assert "in float32 its transformer is too much: text_encoder 17.7 + transformer 6.3" in str(chosen.instead_of)


@pytest.mark.parametrize(
    ("setting", "family", "weights", "has", "told"),
    [
        ("float32", TWO_B, SMALL, room(22.5), ("its transformer is too much", "21.4 GiB can be had", "dtype bfloat16")),
        ("auto", TWO_B, SMALL, room(8), ("in bfloat16 its text_encoder is too much", "of this machine's memory")),
        ("auto", LATER, LARGE, room(22.5, total=23.5), ("no room left to render in", "text_encoder 8.9", "21.3 GiB")),
        ("auto", FIVE_B, LARGE, room(64, 15), ("in bfloat16 its transformer", "of the GPU's memory", "a bigger GPU")),
        ("float32", FIVE_B, LARGE, room(64, 24), ("of the GPU's memory", "dtype bfloat16")),
        ("auto", FIVE_B, LARGE, room(6, 80), ("transformer 10.4", "of this machine's memory")),
    ],
)
def test_what_cannot_fit_is_refused_in_one_line(
    setting: Setting, family: ModelFamily, weights: tuple[Weights, ...], has: Room, told: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        choose(setting, family, weights, has, channels=CHANNELS)
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 400
    for part in (*told, "GiB are needed", "what would help: ", "another model"):
        assert part in line


@pytest.mark.parametrize(("family", "weights"), [(TWO_B, SMALL), (FIVE_B, LARGE), (LATER, LARGE)])
def test_a_gpu_gets_the_familys_own_dtype_and_the_host_holds_one_part_at_a_time(
    family: ModelFamily, weights: tuple[Weights, ...]
) -> None:
    """Of some 21 GB that go to the GPU the host has one part, and the file that is being cast."""
    assert choose("auto", family, weights, room(14, 80), channels=CHANNELS) == Chosen(family.dtype)


def test_what_t5_keeps_in_32_bits_in_float16_is_counted() -> None:
    text = a_part("text_encoder", 1000, "float16")
    assert [text.size(dtype) for dtype in ("float32", "bfloat16", "float16")] == [4000, 2000, 2400]


MACHINE = HostMemory(total=24 * GIB, available=20 * GIB)


def a_group(directory: Path, *, version: int, limit: str, used: int, files: int) -> None:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    directory.mkdir(parents=True)
    (directory / names[0]).write_text(f"{limit}\n")
    (directory / names[1]).write_text(f"{used}\n")
    prefix = "" if version == 2 else "total_"
    (directory / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file {files}\n{prefix}active_file 0\n")


@pytest.mark.parametrize(
    ("told", "version", "where"),
    [
        ("0::/", 2, ""),  # in a container
        ("0::/kubepods/pod7/worker", 2, "kubepods/pod7"),  # a parent's limit holds, too
        ("0::/outside/of/the/container", 2, ""),
        ("9:name=systemd:/\n4:memory:/docker/7", 1, "memory/docker/7"),
        ("4:cpu,memory:/docker/7", 1, "memory"),
    ],
)
def test_a_control_groups_limit_is_the_machines(tmp_path: Path, told: str, version: int, where: str) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"{told}\n")
    limit, used, files = 8 * GIB, 5 * GIB, 2 * GIB
    a_group(tmp_path / "fs" / where, version=version, limit=str(limit), used=used, files=files)
    found = hostmemory.read(MACHINE, proc=tmp_path / "proc", cgroups=tmp_path / "fs")
    assert found == HostMemory(total=limit, available=limit - used + files), "files are given up when memory is needed"


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096), "no number"])
def test_a_group_without_a_limit_leaves_the_machine_as_it_is(tmp_path: Path, limit: str) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    a_group(tmp_path / "fs", version=2, limit=limit, used=5 * GIB, files=0)
    assert hostmemory.read(MACHINE, proc=tmp_path / "proc", cgroups=tmp_path / "fs") == MACHINE


def test_a_system_without_control_groups_has_what_its_kernel_says(tmp_path: Path) -> None:
    assert hostmemory.read(MACHINE, proc=tmp_path, cgroups=tmp_path) == MACHINE
    here = hostmemory.read()
    assert 0 < here.available <= here.total
