"""The embedded PostgreSQL: made whole or not at all, recognised for certain, and never at the cost of others' files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.local import postgres
from tests.support.postgres import FAST, PASSWORD, Server
from tests.support.sockets import free_port


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server.create()
    yield server
    server.remove()


def test_data_and_port_survive_a_restart(server: Server) -> None:
    server.execute("CREATE TABLE kept AS SELECT 7 AS n", postgres.DATABASE)
    server.stop()
    assert postgres.running(server.data_dir) is None
    postgres.initialise(server.data_dir, "ignored: there is a cluster already")
    server.start()
    assert server.execute("SELECT n FROM kept", postgres.DATABASE) == "7"


def test_the_password_is_asked_for_and_only_this_machine_is_answered(server: Server) -> None:
    server.execute("SELECT 1")
    wrong = postgres.url(server.port, "wrong")
    psql = postgres.programs(server.data_dir) / "psql"
    refused = subprocess.run([psql, "-c", "SELECT 1", wrong], capture_output=True, text=True, check=False)
    assert "password authentication failed" in refused.stderr
    assert server.execute("SHOW listen_addresses") == "127.0.0.1"
    assert server.execute("SHOW unix_socket_directories") == ""


def test_a_killed_server_is_started_again_over_its_leftovers(server: Server) -> None:
    server.execute("CREATE TABLE kept AS SELECT 7 AS n", postgres.DATABASE)
    killed = server.process.process()
    assert killed is not None
    killed.kill()
    killed.wait(10)
    server.start()
    assert server.execute("SELECT n FROM kept", postgres.DATABASE) == "7"
    assert postgres.running(server.data_dir) == server.process


def test_a_running_server_is_recognised_and_not_started_twice(server: Server) -> None:
    assert postgres.running(server.data_dir) == server.process
    with pytest.raises(ConfigError, match="already running"):
        postgres.start(server.data_dir, free_port(), server.directory / "log")


def test_another_process_with_the_pid_of_a_dead_server_is_neither_taken_for_it_nor_harmed(server: Server) -> None:
    server.stop()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (server.data_dir / "postmaster.pid").write_text(f"{bystander.pid}\n{server.data_dir}\n1\n{server.port}\n\n")
        assert postgres.running(server.data_dir) is None
        server.start()
        assert server.execute("SELECT 1") == "1"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_that_is_taken_is_reported_with_the_servers_own_words(server: Server) -> None:
    second = server.directory / "second"
    postgres.initialise(second, PASSWORD, durable=False)
    log = server.directory / "second.log"
    started = postgres.start(second, server.port, log, settings=FAST)
    with pytest.raises(ConfigError, match="could not create any TCP"):
        postgres.wait_ready(started, second, log)


def test_a_cluster_of_another_major_version_is_refused(server: Server) -> None:
    server.stop()
    (server.data_dir / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match="PostgreSQL 16"):
        server.start()
    with pytest.raises(ConfigError, match="dump it and restore it"):
        postgres.initialise(server.data_dir, PASSWORD)


def test_a_directory_with_other_peoples_files_is_left_alone(server: Server) -> None:
    theirs = server.directory / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        postgres.initialise(theirs, PASSWORD)
    with pytest.raises(ConfigError, match="no PostgreSQL cluster"):
        postgres.start(theirs, server.port, server.directory / "log")
    assert [path.name for path in theirs.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_directory_that_would_have_to_be_opened_is_refused_and_not_opened(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="choose a data directory"):
        postgres.initialise(closed / "data", PASSWORD)
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_roots_server_has_a_user_of_its_own_where_there_is_one_and_keeps_the_one_that_it_was_made_by(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`daemon` is on every machine: here it stands for a user of the server's own."""
    monkeypatch.setattr(postgres, "_OWN", ("no-such-user", "daemon"))
    own, shared = server.directory / "own", server.directory / "shared"
    postgres.initialise(own, PASSWORD, durable=False)
    assert (own.owner(), own.stat().st_mode & 0o777, postgres.shared_user(own)) == ("daemon", 0o700, None)
    monkeypatch.setattr(postgres, "_OWN", ("no-such-user",))
    postgres.initialise(shared, PASSWORD, durable=False)
    assert (shared.owner(), postgres.shared_user(shared)) == ("nobody", "nobody")
    monkeypatch.undo()
    for directory, user in ((own, "daemon"), (shared, "nobody")):
        log = server.directory / f"{user}.log"
        started = postgres.start(directory, free_port(), log, settings=FAST)
        postgres.wait_ready(started, directory, log)
        running = started.process()
        assert running is not None
        assert running.username() == user
        postgres.stop(started)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_programs_in_a_closed_place_are_copied_beside_the_data(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment below /root must work without being opened to everybody."""
    real = postgres.programs(server.data_dir).parent.parent
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in (real.name, f"{real.name}.libs"):
        (home / name).symlink_to(real.with_name(name))
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.delitem(sys.modules, real.name, raising=False)
    second = server.directory / "second"
    postgres.initialise(second, PASSWORD, durable=False)
    assert postgres.programs(second).is_relative_to(server.directory)
    log = server.directory / "second.log"
    started = postgres.start(second, free_port(), log, settings=FAST)
    postgres.wait_ready(started, second, log)
    postgres.stop(started)
    assert started.process() is None
