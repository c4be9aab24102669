"""Small simulations from tables, as TOML files would say them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.traffic import Traffic
from orchestrator.simulator.world import World

# Ten steps of ten seconds.
RENDER = {"seconds": 100.0, "steps": 10}


def kind(workers: int = 1, **more: Any) -> dict[str, Any]:
    return {"workers": workers, "price_per_gpu_hour": 2.0, "start_s": 60.0, "start_spread": 0.0} | more


def world(
    traffic: dict[str, Any],
    *,
    workers: int = 1,
    policy: str = "ours",
    seed: int = 1,
    directory: Path = Path(),
    forecasts: bool = True,
    **fleet: Any,
) -> World:
    """No gap between renders and no error of a prediction, unless it is said: then moments are whole numbers."""
    tables = {"gap_s": 0.0, "pools": {"main": {"kinds": {"reserved": kind(workers)}}}} | fleet
    return World(
        Fleet.model_validate(tables),
        Traffic.model_validate({"spread": 0.0} | traffic),
        policy=policy,
        seed=seed,
        directory=directory,
        forecasts=forecasts,
    )


def log_of(directory: Path, *moments: float, name: str = "log.csv") -> str:
    """A trace of these arrivals; its name, for a traffic's `file`."""
    (directory / name).write_text("t_s\n" + "".join(f"{moment}\n" for moment in moments))
    return name
