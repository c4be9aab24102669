"""The composition root: one command per process and per errand. The only module that imports both api and workers."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands import (
    any_jobs,
    audit,
    campaigns,
    clusters,
    database,
    erasures,
    fleet,
    jobs,
    keys,
    manifest,
    masters,
    parked,
    pools,
    predictions,
    profiles,
    shares,
    simulate,
    tenants,
    trace,
    usage,
    webhooks,
    workers,
)
from orchestrator.commands.connection import CODES
from orchestrator.commands.options import DataDirOption, path, settings_of
from orchestrator.domain.errors import CogmillError, ConfigError, StaleEpoch
from orchestrator.kit.importing import quickly

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.domain.catalog import ModelFamily
    from orchestrator.local.layout import DataDir

# Everything else is imported by the command that needs it: `cogmill --help` is instant, and no process loads more
# than its own part.

app = typer.Typer(
    help="Render video with CogVideoX at high volume.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
model = typer.Typer(help="Checkpoints and LoRA adapters on this node.", no_args_is_help=True)
app.add_typer(model, name="model")
masters.join(keys.keys)
app.add_typer(keys.keys, name="keys")
shares.join(tenants.tenants)
erasures.join(tenants.tenants)
app.add_typer(tenants.tenants, name="tenants")
app.add_typer(erasures.receipts, name="receipts")
app.add_typer(parked.parked, name="parked")
app.add_typer(pools.pools, name="pools")
app.command("fleet")(fleet.fleet)
app.add_typer(workers.workers, name="workers")
app.add_typer(any_jobs.any_jobs, name="any-jobs")
app.add_typer(any_jobs.dead_letters, name="dead-letters")
app.command("trace")(trace.trace)
app.add_typer(clusters.clusters, name="clusters")
app.add_typer(audit.audit, name="audit")
app.add_typer(database.database, name="database")
app.command("predictions")(predictions.predictions)
app.add_typer(webhooks.webhooks, name="webhooks")
app.add_typer(manifest.manifest, name="manifest")
app.command(epilog=CODES)(jobs.submit)
app.add_typer(jobs.jobs, name="jobs")
app.add_typer(campaigns.campaigns, name="campaign")
app.command()(usage.usage)
app.add_typer(profiles.profile, name="profile")
app.command()(simulate.simulate)

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
# Commands that act by themselves; with every other one it is whoever called it.
_SERVICES = ("api", "dispatch", "maintain")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the command line. What Cogmill raises on purpose becomes one line on stderr and an exit code.

    2 for settings, 3 for a dispatcher whose cluster a newer one has taken over, 1 for the rest; and so does a file or
    a disk that cannot be used, with code 1.
    """
    try:
        _refuse_bytes(sys.argv[1:])
        app()
    except ConfigError as error:
        _fail(str(error), 2)
    except StaleEpoch as error:
        _fail(f"a newer dispatcher has taken over this cluster, so this one ends ({error})", 3)
    except CogmillError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.filename is None and error.errno not in _DISK:
            raise  # no file's fault, but ours: show where
        _fail(": ".join(str(part) for part in (error.filename, error.strerror) if part is not None), 1)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"cogmill {version('cogmill')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is, and exit.")
    ] = False,
) -> None:
    """Render video with CogVideoX at high volume."""
    from orchestrator.telemetry import acting

    name = context.invoked_subcommand or ""
    context.with_resource(acting.acting(acting.service(name) if name in _SERVICES else acting.command_line()))


@app.command()
def up(
    data_dir: DataDirOption = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The API's port.", show_default="8000, then as before")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="TOML of models and pools to serve, not the tiny ones.", parser=path, metavar="PATH"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready.")] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start parts again when their source is saved: for developers.")
    ] = False,
) -> None:
    """Serve the whole stack on this machine until Ctrl-C: PostgreSQL, S3, Ray, API, dispatcher, workers."""
    from orchestrator.local import availability, configuration, greeting, layout, stack
    from workers.modelfiles import require_model

    data = layout.DataDir((data_dir or layout.default()).absolute())
    chosen = _tiny_models(data) if models is None else configuration.read_models(models)
    with (
        _interruptible() as serve,
        stack.running(data, api_port=port, models=chosen, say=_say) as (running, ready),
    ):
        unfit = availability.unfit(running.settings, require_model)
        as_line = json.dumps(asdict(ready) | {"unavailable": unfit})
        typer.echo(as_line if as_json else greeting.text(ready, running.settings, unfit))
        running.watch(until=serve(), reload=reload)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the video goes.", parser=path, metavar="PATH")] = Path(
        "cogmill-demo"
    ),
    data_dir: Annotated[
        Path | None,
        typer.Option(help="The stack's directory.", show_default="./.cogmill/demo", parser=path, metavar="PATH"),
    ] = None,
    prompt: Annotated[str, typer.Option(help="What to render.")] = "A watermill turning at dawn, mist over the stream",
) -> None:
    """Start a stack, render one video, download and check it, stop the stack."""
    from orchestrator.commands import demo as show
    from orchestrator.domain.catalog import TINY_2B
    from orchestrator.local import layout, stack

    data = layout.DataDir((data_dir or layout.default() / "demo").absolute())
    models = _tiny_models(data, TINY_2B)  # one worker starts sooner than three
    with _interruptible(), stack.running(data, api_port=0, models=models, say=_say) as (_, ready):
        show.run(ready, prompt, out)


@app.command("demo-campaign")
def demo_campaign(
    out: Annotated[Path, typer.Option(help="Where what is left goes.", parser=path, metavar="PATH")] = Path(
        "cogmill-demo"
    ),
    data_dir: Annotated[
        Path | None,
        typer.Option(help="The stack's directory.", show_default="./.cogmill/demo", parser=path, metavar="PATH"),
    ] = None,
) -> None:
    """Start a stack, render a campaign of 24 videos while a worker dies, check its manifest, stop the stack."""
    from orchestrator.commands import demo_campaign as show
    from orchestrator.domain.catalog import TINY_2B
    from orchestrator.local import layout, stack

    data = layout.DataDir((data_dir or layout.default() / "demo").absolute())
    models = _tiny_models(data, TINY_2B)
    models["pools"][TINY_2B.name]["workers"] = show.WORKERS
    with _interruptible(), stack.running(data, api_port=0, models=models, say=_say) as (_, ready):
        show.run(ready, out)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    settings = _service_settings()

    with quickly():
        from api import serving
        from orchestrator.processes import frontdoor
        from orchestrator.telemetry import tracing

    frontdoor.check(settings)  # here, where it is one line; the server would end with a traceback
    with tracing.running(settings.tracing, "api"):
        serving.serve(settings)


@app.command()
def dispatch(
    drain: Annotated[
        float | None,
        typer.Option(
            help="Seconds that a stop has for renders: those that need more are evicted.", show_default="render on"
        ),
    ] = None,
) -> None:
    """Drive the Ray cluster: claim jobs, assign them to workers, finish them."""
    from orchestrator.processes.renewing import Renewal

    renewal = Renewal()  # first: what changes from here on counts as changed, also while the settings are read
    settings = _service_settings()

    with quickly():
        import uvloop

        from orchestrator.processes.dispatching import run_dispatcher
        from orchestrator.telemetry import tracing
        from workers.cluster import RayWorkers

    with tracing.running(settings.tracing, "dispatcher"):
        uvloop.run(run_dispatcher(settings, RayWorkers.connect, drain_s=drain, renewal=renewal))


@app.command()
def maintain() -> None:
    """Rescue what dead workers held, move batches on, deliver webhooks, and sweep the bucket."""
    settings = _service_settings()

    with quickly():
        import uvloop

        from api.dialects import lines_of, wording_of
        from orchestrator.processes.maintaining import run_maintainer
        from orchestrator.telemetry import tracing

    with tracing.running(settings.tracing, "maintainer"):
        uvloop.run(run_maintainer(settings, lines_of(settings), wording_of(settings)))


@app.command()
def migrate(data_dir: DataDirOption = None) -> None:
    """Bring the database to this version's schema, and give its roles what they need."""
    from orchestrator.store import migrate as to_newest

    for role in to_newest(settings_of(data_dir).database):
        typer.echo(f"{role} has got what this version needs")


@app.command()
def doctor(data_dir: DataDirOption = None) -> None:
    """Check every part that a deployment needs, one line each; exit code 1 when one fails."""
    settings = settings_of(data_dir)  # first: Ray reads its environment when it is imported

    from orchestrator.commands import doctor as surgery
    from orchestrator.commands import rayprobe
    from orchestrator.commands.findings import Health
    from workers import modelfiles

    healthy = True
    for finding in surgery.examine(settings, rayprobe.probe, modelfiles):
        typer.echo(finding.line())
        healthy = healthy and finding.health is not Health.FAIL
    sys.stdout.flush()
    os._exit(0 if healthy else 1)  # a check that still hangs must not keep the doctor


@app.command(hidden=True)
def ray_gpus(address: Annotated[str | None, typer.Argument()] = None) -> None:
    """Print what a Ray cluster's nodes have; for the doctor, who can end this process."""
    from workers.cluster import RayWorkers

    workers = RayWorkers.connect(address, "cogmill-doctor")
    told = {"gpus": workers.gpus(), "bearers": workers.bearers(), "startable": workers.startable()}
    typer.echo(json.dumps(told))
    workers.close()


NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models and adapters.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that are configured.")]


@model.command()
def fetch(names: NamesArgument = None, every: AllOption = False, data_dir: DataDirOption = None) -> None:
    """Bring models and adapters to this node, verified; what is here stays. Exit code 1 when one cannot be had."""
    from orchestrator.commands import models
    from workers import modelfiles

    settings = settings_of(data_dir)
    if not models.fetch(settings, models.choose(settings, names or (), every=every), modelfiles, typer.echo):
        raise typer.Exit(1)


@model.command()
def verify(names: NamesArgument = None, every: AllOption = False, data_dir: DataDirOption = None) -> None:
    """Read what is on this node again, and compare it with what was fetched. Exit code 1 when it is not the same."""
    from orchestrator.commands import models
    from workers import modelfiles

    settings = settings_of(data_dir)
    if not models.verify(settings, models.choose(settings, names or (), every=every), modelfiles, typer.echo):
        raise typer.Exit(1)


@model.command(name="list")
def list_models(data_dir: DataDirOption = None) -> None:
    """Say of every configured model and adapter whether it is on this node, where, and how large."""
    from orchestrator.commands import models
    from workers import modelfiles

    models.show(settings_of(data_dir), modelfiles, typer.echo)


@model.command()
def push(
    directory: Annotated[Path, typer.Argument(parser=path, metavar="DIRECTORY")],
    destination: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX")],
    data_dir: DataDirOption = None,
) -> None:
    """Publish a checkpoint or an adapter in S3, with the manifest that every fetch is verified against."""
    from orchestrator.commands import models
    from workers import modelfiles

    models.push(settings_of(data_dir), directory, destination, modelfiles, typer.echo)


@model.command()
def tiny(directory: Annotated[Path, typer.Argument(parser=path, metavar="DIRECTORY")]) -> None:
    """Make the tiny random checkpoints (real classes, no art) below DIRECTORY; those that exist stay."""
    from orchestrator.domain.catalog import TINY
    from workers.cogvideox.tiny import make

    for family in TINY:
        typer.echo(make(family, directory))


def _service_settings() -> Settings:
    """The settings of a service, from its environment alone; its logs go where they say."""
    from orchestrator import config
    from orchestrator.telemetry import logs

    settings = config.load()
    logs.configure(settings.log)
    return settings


def _tiny_models(data: DataDir, *families: ModelFamily) -> dict[str, Any]:
    """The configuration of these tiny models; of the usual ones when none is named."""
    from orchestrator.local import configuration
    from workers.cogvideox import tiny as checkpoints

    return configuration.tiny_models(lambda family: checkpoints.path(family, data.models), *families)


@contextmanager
def _interruptible() -> Iterator[Callable[[], Event]]:
    """SIGINT, SIGTERM and SIGHUP end the block, once; while it cleans up, more of them change nothing.

    They raise KeyboardInterrupt in it, until it calls what it is given: from then on they set the event that it got.
    """
    stopping, serving = Event(), False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for sig in _ENDING:
            signal.signal(sig, signal.SIG_IGN)
        _say("stopping: what is rendering has some seconds to end, the rest is kept for the next start")
        stopping.set()
        if not serving:
            raise KeyboardInterrupt

    def serve() -> Event:
        nonlocal serving
        serving = True
        return stopping

    for sig in _ENDING:
        if sig is not signal.SIGHUP or signal.getsignal(sig) is not signal.SIG_IGN:  # nohup means it
            signal.signal(sig, interrupt)
    try:
        yield serve
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Raise `ConfigError` for an argument that is not UTF-8: neither TOML, JSON nor the database could hold it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the argument {argument!r} is not UTF-8") from None


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone or a log on a full disk must not keep a stack from stopping
        typer.echo(f"cogmill: {line}", err=True)


def _fail(line: str, code: int) -> None:
    _say(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
