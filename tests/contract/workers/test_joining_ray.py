"""A driver joins only a cluster of its own Ray and Python, and says which images do not belong together."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import WorkerUnreachable


@pytest.mark.parametrize(
    ("mine", "told"),
    [(("2.59.1", "3.11.14"), "this process Ray 2.59.1 on Python 3.11.14"), ((None, "3.11.1"), "on Python 3.11.1: ")],
    ids=["another Ray", "another patch of Python"],
)
def test_a_cluster_of_other_versions_is_refused_with_both(
    ray_address: str, monkeypatch: pytest.MonkeyPatch, mine: tuple[str | None, str], told: str
) -> None:
    import ray
    from ray._private import utils

    from workers.cluster import RayWorkers

    theirs = utils.compute_version_info()
    monkeypatch.setattr(utils, "compute_version_info", lambda: (mine[0] or theirs[0], mine[1]))
    try:
        with pytest.raises(WorkerUnreachable) as caught:
            RayWorkers.connect(ray_address, "versions")
    finally:
        ray.shutdown()

    said = str(caught.value)
    assert f"the cluster at {ray_address} runs Ray {theirs[0]} on Python {theirs[1]}, and " in said
    assert told in said
    assert "take all images from one build" in said


def test_no_cluster_is_told_as_none() -> None:
    import ray

    from workers.cluster import RayWorkers

    try:
        with pytest.raises(WorkerUnreachable, match=r"no Ray cluster answers at 127\.0\.0\.1:notaport"):
            RayWorkers.connect("127.0.0.1:notaport", "nowhere")
    finally:
        ray.shutdown()
