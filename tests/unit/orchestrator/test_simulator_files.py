"""A simulation's files: what is wrong in them is told with file, line and key; traces hold what their rates say."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.simulator import arrivals, files, shapes, traces
from orchestrator.simulator.fleet import PoolTable
from orchestrator.simulator.traffic import StreamTable
from orchestrator.simulator.world import World

EXAMPLES = Path(__file__).parents[3] / "deploy/simulations"
# Beside a checkout where the traces of others may lie.
TRACES = next((path for up in Path(__file__).parents if (path := up / "shared/traces").is_dir()), None)

FLEET = """\
gap_s = 0.1

[pools.main]
family = "cogvideox-2b"

[pools.main.kinds.spot]
workers = 2
price_per_gpu_hour = 0.9
"""
TRAFFIC = """\
hours = 2

[streams.products]
tenant = "products"
per_hour = 60

[campaigns.night]
tenant = "shop"
rows = 100
at_h = 1
deadline_h = 2
"""


def read(tmp_path: Path, fleet: str = FLEET, traffic: str = TRAFFIC) -> Any:
    (tmp_path / "fleet.toml").write_text(fleet)
    (tmp_path / "traffic.toml").write_text(traffic)
    return files.read(tmp_path / "fleet.toml", tmp_path / "traffic.toml")


def test_the_files_of_these_tests_are_good(tmp_path: Path) -> None:
    fleet, traffic = read(tmp_path)

    assert fleet.pools["main"].kinds["spot"].workers == 2
    assert traffic.campaigns["night"].priority == 20


@pytest.mark.parametrize("traffic", sorted(EXAMPLES.glob("*traffic.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("fleet", sorted(EXAMPLES.glob("*fleet*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_good(fleet: Path, traffic: Path) -> None:
    if fleet.stem == "shared-fleet":  # which has five pools, and its own traffic
        traffic = EXAMPLES / "mixed-requests.toml"
    World(*files.read(fleet, traffic), policy="ours", seed=1, directory=EXAMPLES)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gap_s = 0.1", "gap_ms = 100", "fleet.toml, line 1: gap_ms: there is no such key"),
        ("gap_s = 0.1", 'gap_s = "100 ms"', "fleet.toml, line 1: gap_s: Input should be a valid number"),
        ("hour = 0.9", "hour = -0.9", "line 8: pools.main.kinds.spot.price_per_gpu_hour: Input should be greater than"),
        (
            "price_per_gpu_hour = 0.9",
            "",
            "fleet.toml, line 6: pools.main.kinds.spot.price_per_gpu_hour: Field required",
        ),
        ("workers = 2", "min = 3\nmax = 2", "line 6: pools.main.kinds.spot: min 3 is greater than max 2"),
        ("workers = 2", "workers = 2\nmax = 2", "spot: workers is a fixed number, and excludes min and max"),
        ("workers = 2", "", "spot: needs workers, a fixed number, or max, up to which it is scaled"),
        ("workers = 2", "workers = 2.5", "line 7: pools.main.kinds.spot.workers: Input should be a valid integer"),
        ("workers = 2", "workers = 2\nstart_s = 180000", "line 8: pools.main.kinds.spot.start_s: Input should be less"),
        ("cogvideox-2b", "sora", "fleet.toml, line 3: pools.main: family 'sora' is none of cogvideox-2b,"),
        (
            "workers = 2",
            'workers = 2\nresource = "spot"',
            "line 8: pools.main.kinds.spot.resource: there is no such key",
        ),
        (
            "[pools.main.kinds.spot]\nworkers = 2",
            "gpus_per_worker = 4\nmax_gpus = 2\n[pools.main.kinds.spot]\nmax = 2",
            "pools.main: kinds.spot: a worker has 4 GPUs, and max_gpus is 2",
        ),
        (
            "[pools.main.kinds.spot]\nworkers = 2",
            "max_money_per_hour = 0.5\n[pools.main.kinds.spot]\nmax = 2",
            "pools.main: kinds.spot: a worker costs 0.9 an hour, and max_money_per_hour is 0.5",
        ),
        (
            "[pools.main.kinds.spot]\nworkers = 2",
            "max_gpus = 2\n[pools.main.kinds.spot]\nmin = 3\nmax = 4",
            "pools.main: max_gpus 2 is less than what min of the kinds takes",
        ),
        (
            "[pools.main.kinds.spot]\nworkers = 2",
            "max_money_per_hour = 2.5\n[pools.main.kinds.spot]\nmin = 3\nmax = 4",
            "pools.main: max_money_per_hour 2.5 is less than what min of the kinds costs",
        ),
        (
            'family = "cogvideox-2b"',
            'family = "cogvideox-2b"\nclosed_hours = ["Mon 8 to 18"]',
            "line 5: pools.main.closed_hours: 'Mon 8 to 18' is not like 'Mon-Fri 08:00-18:00 Europe/Berlin'",
        ),
        ("[pools.main.kinds.spot]", "[pools.main.kind.spot]", "line 3: pools.main.kind: there is no such key"),
        ("[pools.main.kinds.spot]", "[pools.other.kinds.spot]", "pools.main.kinds: must not be empty, unless the pool"),
        (
            "[pools.main.kinds.spot]",
            '[shared.some]\npools = ["main", "other"]\nworkers = 1\nprice_per_gpu_hour = 1.0\nevery_s = 1e-9\n'
            "[pools.main.kinds.spot]",
            "line 10: shared.some.every_s: Input should be greater than or equal to 0.1",
        ),
        ("workers = 2", "workers = ", "fleet.toml: Invalid value (at line 7, column 11)"),
    ],
)
def test_a_wrong_fleet_is_told_with_file_line_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, fleet=FLEET.replace(old, new))

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("per_hour = 60", "per_minute = 1", "traffic.toml, line 5: streams.products.per_minute: there is no such key"),
        ("per_hour = 60", "per_hour = 0", "line 5: streams.products.per_hour: Input should be greater than 0"),
        ("deadline_h = 2", "deadline_h = 1", "campaigns.night: deadline_h 1 is not after at_h 1: both are hours"),
        ("rows = 100", "rows = 0", "line 9: campaigns.night.rows: Input should be greater than or equal to 1"),
        ("rows = 100", 'rows = 100\npool = "other"', "campaigns.night.pool: 'other' is none of"),
        ("hours = 2", "hours = inf", "traffic.toml, line 1: hours: Input should be"),
        ("hours = 2", "", "line 1: hours: Field required"),
        (
            "rows = 100",
            "rows = 100\nbudget = { amount = 0 }",
            "line 10: campaigns.night.budget.amount: Input should be greater than 0",
        ),
        (
            "rows = 100",
            'rows = 100\nbudget = { amount = 1, unit = "euro" }',
            "campaigns.night.budget.unit: Input should be 'gpu_seconds' or 'money'",
        ),
        ("hours = 2", "hours = 2\nbegins = 2026-03-02T06:00:00", "line 2: begins: Input should have timezone info"),
        (
            "hours = 2",
            "hours = 2\nbegins = 0001-01-01T00:00:00+14:00",
            "line 2: begins: is in the year 1, and must be from 1970 to 2200",
        ),
        (
            "hours = 2",
            "hours = 2\nbegins = 9999-12-31T00:00:00Z",
            "line 2: begins: is in the year 9999, and must be from 1970 to 2200",
        ),
        (
            "hours = 2",
            "hours = 2\n[tenants.shop]\nguaranteed = { main = 3 }",
            "traffic.toml: tenants.shop.guaranteed.main: 3 would be guaranteed, and there are 2 workers",
        ),
        (
            "hours = 2",
            "hours = 2\n[tenants.shop]\nguaranteed = { other = 1 }",
            "traffic.toml: tenants.shop.guaranteed.other: 'other' is none of",
        ),
        (
            "hours = 2",
            "hours = 2\n[tenants.shop]\nguaranteed = { main = -1 }",
            "line 3: tenants.shop.guaranteed.main: Input should be greater than or equal to 0",
        ),
        (
            "hours = 2",
            "hours = 2\n[tenants.shop]\nmax_running = 1\nguaranteed = { main = 2 }",
            "tenants.shop: guaranteed 2 workers of main, and may run 1 jobs",
        ),
    ],
)
def test_wrong_traffic_is_told_with_file_line_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, traffic=TRAFFIC.replace(old, new))

    assert said.removeprefix("line 1: ") in str(refused.value)


def test_workers_that_pools_share_are_guaranteed_to_nobody(tmp_path: Path) -> None:
    fleet = (
        '[pools.main]\nfamily = "cogvideox-2b"\n[pools.other]\nfamily = "cogvideox-5b"\n'
        '[shared.both]\npools = ["main", "other"]\nworkers = 3\nprice_per_gpu_hour = 1\n'
    )
    traffic = TRAFFIC.replace("tenant =", 'pool = "main"\ntenant =')
    read(tmp_path, fleet, traffic)
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, fleet, f"{traffic}[tenants.shop]\nguaranteed = {{ main = 1 }}\n")
    assert str(refused.value).endswith(
        "tenants.shop.guaranteed.main: 1 would be guaranteed, and there are 0 workers of its own;"
        " those of shared.both are guaranteed to nobody"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t_s\n1.0\nsoon\n", "trace.csv, line 3: t_s: 'soon' is no number"),
        ("t_s\n1.0\n-1\n", "trace.csv, line 3: t_s: must be 0 or more, and finite"),
        ("t_s\n5\n4\n", "trace.csv, line 3: t_s: 4 is before the line above it"),
        ("when\n5\n", "trace.csv, line 1: neither has t_s of a log, nor all of"),
        ("client,t_s,rate_per_s,iat_family,shape,scale\n1,0,1,Poisson,1,1\n", "line 2: iat_family: 'Poisson' is"),
        ("client,t_s,rate_per_s,iat_family,shape,scale\n1,0,x,Gamma,1,1\n", "line 2: rate_per_s: 'x' is no number"),
        ("client,t_s,rate_per_s,iat_family,shape,scale\n1,0,1,Gamma,0,1\n", "line 2: shape: must be greater than 0"),
        ("client,t_s,rate_per_s,iat_family,shape,scale\n1,0\n", "line 2: iat_family: None is neither"),
    ],
)
def test_a_trace_with_a_bad_line_is_told_with_file_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "trace.csv").write_text(text)

    with pytest.raises(ConfigError) as refused:
        traces.read(tmp_path / "trace.csv")
    assert said in str(refused.value)


def test_a_trace_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: No such file"):
        traces.read(tmp_path / "none.csv")


def test_of_a_log_every_nth_arrival_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("t_s,tokens\n" + "".join(f"{n},7\n" for n in range(10)))

    assert list(traces.read(tmp_path / "log.csv").arrivals(Random(1), 3)) == [(2.0, ""), (5.0, ""), (8.0, "")]


def test_rates_give_as_many_arrivals_as_they_say_in_order_and_within_their_windows(tmp_path: Path) -> None:
    heads = "client,t_s,rate_per_s,cv,iat_family,shape,scale\n"
    rows = "".join(
        f"{client},{at},2.0,1.5,{family},0.6,9\n"
        for client, family in enumerate(("Gamma", "Weibull"))
        for at in (0, 600, 1800)
    )
    (tmp_path / "rates.csv").write_text(heads + rows)
    found = list(traces.read(tmp_path / "rates.csv").arrivals(Random(1), 10))

    assert len(found) == pytest.approx(2 * 3 * 2.0 * 600 / 10, abs=2)
    assert found == sorted(found)
    assert {client for _, client in found} == {"0", "1"}
    assert not [at for at, _ in found if 1200 <= at < 1800]


def test_a_streams_mean_burst_and_peak_are_as_asked() -> None:
    table = StreamTable(tenant="team", tenants=3, per_hour=600.0, cv=2.0, peak=1.5, peak_h=6.0)
    found = []
    for at, tenant in arrivals.stream(table, Random(1)):
        if at >= 10 * 24 * 3600:
            break
        found.append((at, tenant))

    assert len(found) == pytest.approx(600 * 24 * 10, rel=0.03)
    by_hour = [sum(1 for at, _ in found if int(at // 3600) % 24 == hour) / 10 for hour in (6, 18)]
    assert by_hour == [pytest.approx(900, rel=0.1), pytest.approx(300, rel=0.15)]
    shares = [sum(1 for _, tenant in found if tenant == f"team-{n}") for n in (1, 2, 3)]
    assert shares[0] / shares[2] == pytest.approx(3, rel=0.1)


@pytest.mark.skipif(TRACES is None, reason="the traces of others are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "thinned", "seconds"),
    [("azure_llm2023_conv.csv", 193, 3510), ("servegen_mm_image_clients.csv", 8186, 86_400)],
)
def test_traces_of_others_are_read_and_thinned(name: str, thinned: int, seconds: float) -> None:
    assert TRACES is not None
    found = list(traces.read(TRACES / name).arrivals(Random(1), 100))

    assert len(found) == pytest.approx(thinned, rel=0.01)
    assert found[-1][0] == pytest.approx(seconds, rel=0.02)


def test_a_render_takes_what_the_catalogue_says_unless_the_file_does() -> None:
    pool = PoolTable.model_validate({"kinds": {"a": {"workers": 1, "price_per_gpu_hour": 1.0}}})
    table = StreamTable(tenant="team", per_hour=1.0)
    own = table.model_copy(update={"seconds": 7.0, "steps": 3})
    fast = table.model_copy(update={"profile": "fast"})

    assert (shapes.shape_of(table, pool).seconds, shapes.shape_of(table, pool).steps) == (50 * 1.75 + 2.5, 50)
    assert shapes.shape_of(fast, pool).seconds == 50 * 0.5 * 1.75 + 2.5
    assert (shapes.shape_of(own, pool).seconds, shapes.shape_of(own, pool).steps) == (7.0, 3)


@pytest.mark.parametrize("begins", ["1970-01-01T00:00:00+14:00", "2200-12-31T23:59:59-12:00"])
def test_the_first_and_the_last_moment_that_may_be_said_can_be_played(tmp_path: Path, begins: str) -> None:
    closed = 'family = "cogvideox-2b"\nclosed_hours = ["Mon-Sun 08:00-18:00 Europe/Berlin"]'
    tables = read(
        tmp_path,
        fleet=FLEET.replace('family = "cogvideox-2b"', closed),
        traffic=TRAFFIC.replace("hours = 2", f"hours = 8784\nbegins = {begins}"),
    )

    here = World(*tables, policy="ours", seed=1, directory=tmp_path)

    assert len(here.closed["main"]) >= 366
