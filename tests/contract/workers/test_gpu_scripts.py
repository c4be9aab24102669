"""What runs on a bare GPU machine imports nothing that such a machine lacks, and still runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.tools import EXTRA

ROOT = Path(__file__).parents[3]

# Of the project's dependencies, what a machine with PyTorch has not got and nobody carries there.
LACKING = [
    "aioboto3", "alembic", "asyncpg", "av", "boto3", "botocore", "c2pa", "cryptography", "fastapi", "limits", "ray",
    "sqlalchemy", "spandrel", "standardwebhooks", "uuid_utils", "uvicorn",
]  # fmt: skip
SCRIPTS = ["tests.benchmarks.engine.__main__", "tests.gpu.resumed"]
CHECKS = sorted(f"tests.gpu.{file.stem}" for file in (ROOT / "tests/gpu").glob("test_*.py"))


def test_without_database_bucket_and_ray_everything_for_a_gpu_machine_can_be_imported() -> None:
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({LACKING}))
for name in {SCRIPTS + CHECKS}:
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_the_measurements_at_full_size_run_with_a_model_cut_down(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.engine", "--rehearse", "--models", "cogvideox-1.5-5b-i2v"]

    # torchao, for the profiles that are quantized, is where the tests of this process find it, too.
    found_in = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(EXTRA)])
    told = tmp_path / "found.json"
    subprocess.run(
        [*command, "--json", str(told)], check=True, cwd=ROOT, timeout=170, env={**os.environ, "PYTHONPATH": found_in}
    )

    found = json.loads(told.read_text())["full_size"]
    assert [one["profile"] for one in found] == ["plain", "exact", "fast", "draft"]
    assert all(one["video_s"] > 0 for one in found)
