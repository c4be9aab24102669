"""Runs both parts and prints what they find; see the package for the command lines."""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path
from typing import Any

import diffusers
import structlog
import torch
import transformers

import tests.benchmarks.engine as package
from orchestrator.domain.catalog import FAMILIES, TINY, Profile
from tests.benchmarks.engine import full_size, loop, record
from tests.support.random_weights import SMALL, reduced

LARGE = [family.name for family in FAMILIES.values() if family not in TINY]
PROFILES = [record.PLAIN, *Profile]


def main() -> None:
    options = _options()
    _quiet()
    environment = _environment()
    print(", ".join(f"{name} {version}" for name, version in environment.items()))
    told: list[dict[str, Any]] = []
    found: dict[tuple[str, str], record.Measurement] = {}
    torch.set_num_threads(1)  # the GPU part has no use for more, and the CPU part compares one with one
    if not (options.gpu or options.rehearse):
        told = [loop.report(family.name, options.rounds, options.renders) for family in TINY]
    if options.rehearse or torch.cuda.is_available():
        bench = _bench(options)
        for name in options.models:
            family = reduced(FAMILIES[name]) if options.rehearse else FAMILIES[name]
            for one in full_size.measure(bench, family, options.profiles):
                print(one, flush=True)
                if isinstance(one, record.Measurement):
                    found[one.model, one.profile] = one
                if options.json:
                    record.write(options.json, environment, found, told)
    else:
        print("full size: not measured, no GPU at hand")
    if options.json:
        record.write(options.json, environment, found, told)
    if not options.rehearse:
        for goal, verdict in record.verdicts(found):
            print(f"goal: {goal}: {verdict}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="CPU: how often each side of a ratio runs")
    parser.add_argument("--renders", type=int, default=8, help="CPU: renders in a row for the overlap")
    parser.add_argument("--gpu", action="store_true", help="the GPU part alone")
    parser.add_argument("--rehearse", action="store_true", help="the GPU part on the CPU, with models cut down")
    parser.add_argument("--models", type=_names(LARGE), default=LARGE, help=f"of {','.join(LARGE)}")
    parser.add_argument("--profiles", type=_names(PROFILES), default=PROFILES, help=f"of {','.join(PROFILES)}")
    parser.add_argument("--steps", type=int, default=8, help="rendered of each video, the rest extrapolated; 0 is all")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="begin nothing that would outlast it")
    parser.add_argument("--json", type=Path, default=_default_json(), help="where to write all figures; else in $OUT")
    return parser.parse_args()


def _names(known: list[str]) -> Any:
    def names(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not of {', '.join(known)}")
        return text.split(",")

    return names


def _default_json() -> Path | None:
    return Path(os.environ["OUT"]) / "engine.json" if "OUT" in os.environ else None


def _bench(options: argparse.Namespace) -> full_size.Bench:
    deadline = time.monotonic() + options.budget_s
    if not options.rehearse:
        return full_size.Bench(device=torch.device("cuda"), steps=options.steps or None, deadline=deadline)
    return full_size.Bench(device=torch.device("cpu"), steps=2, deadline=deadline, scale=SMALL, quantization="int8")


def _environment() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return {
        "device": device,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
