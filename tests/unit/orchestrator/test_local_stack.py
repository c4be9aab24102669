"""The local stack's decisions: ports, state, secrets, configuration, restarts, and whose process is whose."""

from __future__ import annotations

import os
import signal
import socket
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import config
from orchestrator.domain.errors import ConfigError
from orchestrator.local import configuration, portbook, postgres, process, ray, secrets, stack
from orchestrator.local.layout import DataDir
from orchestrator.local.parts import ControlPlane
from orchestrator.local.process import ProcessId
from orchestrator.local.state import State, StateFile
from orchestrator.local.supervisor import Restart, Supervisor


def always(_: int) -> bool:
    return True


class TestPorts:
    def test_the_ports_of_earlier_runs_are_kept_even_when_they_are_taken_now(self) -> None:
        first = asdict(portbook.choose({}, api=None, free=always))
        assert asdict(portbook.choose(first, api=None, free=lambda port: port not in first.values())) == first

    def test_the_api_has_8000_at_first_then_what_was_asked_for_last(self) -> None:
        first = portbook.choose({}, api=None, free=always)
        moved = portbook.choose(asdict(first), api=9000, free=always)
        assert (first.api, moved.api, portbook.choose(asdict(moved), api=None, free=always).api) == (8000, 9000, 9000)

    def test_port_zero_asks_for_a_free_one(self) -> None:
        assert portbook.choose({"api": 9000}, api=0, free=always).api not in (0, 9000)

    def test_new_ports_are_free_distinct_and_below_the_ephemeral_range(self) -> None:
        chosen = list(asdict(portbook.choose({}, api=0, free=lambda port: port % 2 == 0)).values())
        assert len(set(chosen)) == len(chosen)
        assert all(port % 2 == 0 and port < 32768 for port in chosen)

    def test_the_api_may_not_have_the_port_of_another_part(self) -> None:
        known = asdict(portbook.choose({}, api=None, free=always))
        with pytest.raises(ConfigError, match=f"port {known['s3']} is the one of this stack's s3"):
            portbook.choose(known, api=known["s3"], free=always)

    def test_a_port_that_somebody_listens_on_is_not_bindable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert not portbook.bindable(server.getsockname()[1])


def _state_with(*, pid: str = "12", started: str = "34.5", port: str = "8000", mark: str = '"cogmill-ray-1"') -> str:
    parts = f'{{"s3": {{"pid": {pid}, "started": {started}}}}}'
    return f'{{"ports": {{"api": {port}}}, "parts": {parts}, "starting": {{"ray": {mark}}}, "ray_temp_dir": null}}'


class TestState:
    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        file = StateFile(tmp_path / "stack.json")
        file.keep_ports({"api": 8000})
        file.keep_ray_temp_dir(Path("/tmp/x"))
        file.started("s3", ProcessId(12, 34.5))
        file.starts("ray", "cogmill-ray-1")
        file.started("ray", ProcessId(13, 35.5))
        file.starts("database", "cogmill-database-1")
        file.ended("s3")
        expected = State(
            ports={"api": 8000},
            parts={"ray": ProcessId(13, 35.5)},
            starting={"database": "cogmill-database-1"},
            ray_temp_dir=Path("/tmp/x"),
        )
        assert StateFile(tmp_path / "stack.json").state == expected

    def test_a_stack_that_never_ran_has_an_empty_state(self, tmp_path: Path) -> None:
        assert StateFile(tmp_path / "stack.json").state == State()

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "[]", "null", '{"ports": {}}', '{"ports": 1, "parts": {}}', "[" * 100_000),
            _state_with(pid="1e400"),
            _state_with(pid="-1"),
            _state_with(started="NaN"),
            _state_with(port="70000"),
            _state_with(mark='""'),
        ],
    )
    def test_a_damaged_state_is_one_clear_line_and_never_a_guess(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "stack.json"
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"stack\.json is damaged") as caught:
            StateFile(path)
        assert "\n" not in str(caught.value)

    def test_a_whole_one_is_not_damaged(self, tmp_path: Path) -> None:
        (tmp_path / "stack.json").write_text(_state_with())
        assert StateFile(tmp_path / "stack.json").state.parts == {"s3": ProcessId(12, 34.5)}

    def test_one_that_is_a_directory_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
            StateFile(tmp_path)


class TestSecrets:
    def test_they_are_made_once_distinct_and_private(self, tmp_path: Path) -> None:
        made = secrets.load_or_make(tmp_path)
        assert secrets.load_or_make(tmp_path) == made
        assert len(set(asdict(made).values())) == len(asdict(made))
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    def test_an_empty_one_is_refused_rather_than_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "master_key").touch()
        with pytest.raises(ConfigError, match="master_key is empty"):
            secrets.load_or_make(tmp_path)

    def test_one_with_a_control_character_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "master_key").write_text("a\0b")
        with pytest.raises(ConfigError, match="master_key holds a control character"):
            secrets.load_or_make(tmp_path)

    def test_they_do_not_show_in_a_log(self, tmp_path: Path) -> None:
        made = secrets.load_or_make(tmp_path)
        assert made.master_key not in repr(made)


class TestDataDir:
    def test_a_second_holder_is_told_who_the_first_one_is(self, tmp_path: Path) -> None:
        data = DataDir(tmp_path)
        with data.locked(), pytest.raises(ConfigError, match=f"already running in .* \\(pid {os.getpid()}\\)"):
            data.locked().__enter__()

    def test_a_lock_ends_with_its_holder(self, tmp_path: Path) -> None:
        data = DataDir(tmp_path)
        with data.locked():
            pass
        with data.locked():
            assert (tmp_path / "lock").read_text() == str(os.getpid())

    def test_what_an_earlier_release_left_open_is_closed(self, tmp_path: Path) -> None:
        for name in ("logs", "s3"):
            (tmp_path / name).mkdir(mode=0o755)
        DataDir(tmp_path).create()
        inside = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_dir()}
        assert inside == dict.fromkeys(("home", "logs", "models", "s3", "secrets"), 0o700)


_keys = st.text(min_size=1)
_plain = st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()


class TestConfiguration:
    @given(st.recursive(st.dictionaries(_keys, _plain), lambda inner: st.dictionaries(_keys, _plain | inner)))
    def test_what_is_written_as_toml_is_read_back(self, content: dict[str, object]) -> None:
        text = configuration.to_toml(content)
        assert _without_empty(tomllib.loads(text)) == _without_empty(content)

    def test_paths_of_models_are_relative_to_their_file(self, tmp_path: Path) -> None:
        file = tmp_path / "models.toml"
        file.write_text('[models.m]\nfamily = "cogvideox-2b"\npath = "weights"\n')
        assert configuration.read_models(file)["models"]["m"]["path"] == str(tmp_path / "weights")

    def test_sources_of_models_and_adapters_are_relative_to_their_file_unless_they_are_fetched(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "models.toml"
        file.write_text(
            'models_cache = "cache"\n[models.m]\nsource = "weights"\n[models.n]\nsource = "s3://models/n"\n'
            '[adapters.ink]\nsource = "ink"\nmodels = ["m"]\nscale = 0.5\n'
        )
        read = configuration.read_models(file)
        assert read["models"]["m"]["source"] == str(tmp_path / "weights")
        assert read["models"]["n"]["source"] == "s3://models/n"
        assert read["adapters"]["ink"]["source"] == str(tmp_path / "ink")
        assert read["models_cache"] == str(tmp_path / "cache")
        assert tomllib.loads(configuration.to_toml(read)) == read

    def test_a_models_file_may_not_set_anything_else(self, tmp_path: Path) -> None:
        file = tmp_path / "models.toml"
        file.write_text('database_url = "postgresql://elsewhere"\n')
        with pytest.raises(ConfigError, match="database_url is none of"):
            configuration.read_models(file)

    def test_pools_of_a_models_file_share_workers_and_later_commands_see_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "environ", {})
        file, data = tmp_path / "models.toml", DataDir(tmp_path)
        file.write_text(
            'default_model = "a"\n'
            '[models.a]\nfamily = "tiny-2b"\npath = "a"\n[models.b]\nfamily = "tiny-5b"\npath = "b"\n'
            '[pools.a]\nmodel = "a"\n[pools.b]\nmodel = "b"\n'
            '[shared.both]\npools = ["a", "b"]\nworkers = 2\n'
        )
        content = {**_document(tmp_path), "aliases": {}, **configuration.read_models(file)}
        settings = configuration.establish(data, content)
        assert settings.sets == {"a": "both", "b": "both"}
        os.environ.clear()
        configuration.enter(data)
        assert config.load() == settings

    @pytest.mark.parametrize("models", ["1", "[]"])
    def test_models_that_are_no_tables_are_refused(self, tmp_path: Path, models: str) -> None:
        file = tmp_path / "models.toml"
        file.write_text(f"models = {models}\n")
        with pytest.raises(ConfigError, match="models must be tables"):
            configuration.read_models(file)

    def test_the_callers_environment_does_not_steer_the_stack(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = {"COGMILL_S3__BUCKET": "theirs", "COGMILL_CONFIG": "theirs", "RAY_ADDRESS": "theirs"}
        theirs["COGMILL_SECRETS_DIR"] = "theirs"
        monkeypatch.setattr(os, "environ", {**theirs, "COGMILL_LOG__LEVEL": "debug"})
        data = DataDir(tmp_path)
        settings = configuration.establish(data, _document(tmp_path))
        assert (settings.s3.bucket, settings.log.level) == ("cogmill", "debug")
        assert os.environ["COGMILL_CONFIG"] == str(data.config)
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(data.ray_token)
        assert "theirs" not in os.environ.values()
        assert config.load() == settings

    def test_a_wrong_key_is_named_and_the_file_stays_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "environ", {})
        data = DataDir(tmp_path)
        data.config.write_text("as it was")
        wrong = {**_document(tmp_path), "default_model": "nonesuch"}
        with pytest.raises(ConfigError, match="default_model 'nonesuch' is none of"):
            configuration.establish(data, wrong)
        assert data.config.read_text() == "as it was"


class TestRestarts:
    def test_each_death_within_a_minute_doubles_the_wait_up_to_ten_seconds(self) -> None:
        restart, waits = Restart(), []
        for _ in range(7):
            restart = restart.died(now=100.0)
            waits.append(restart.at - 100.0)
        assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]

    def test_a_steady_minute_forgives(self) -> None:
        restart = Restart().died(now=100.0).died(now=101.0)
        assert restart.died(now=restart.at + 61.0).deaths == 1


class TestRefusedStarts:
    """What is in the way is said before a new directory is made."""

    def test_a_taken_port_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres, "server_user", lambda *_: None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(ConfigError, match=f"port {port} is taken by another program.* api needs it"):
                _start(tmp_path / "new", port)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
    def test_an_unreachable_directory_is_named_before_a_taken_port(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            pytest.raises(ConfigError, match="cannot enter"),
        ):
            _start(tmp_path / "new", server.getsockname()[1])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("content", [b"\n", b"a\0.b", b"\xff.b"])
    def test_a_damaged_api_key_is_named_and_nothing_is_started(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
    ) -> None:
        monkeypatch.setattr(postgres, "server_user", lambda *_: None)
        data = DataDir(tmp_path)
        data.create()
        data.api_key.write_bytes(content)
        with pytest.raises(ConfigError, match=f"{data.api_key} holds no API key"):
            _start(tmp_path, 0)
        assert not data.state.exists()


def _start(directory: Path, port: int) -> None:
    with stack.running(DataDir(directory), api_port=port, models={}, say=print):
        pytest.fail("it started")


class TestTakeDown:
    def test_what_runs_is_ended_also_when_its_notes_cannot_be_written(self, tmp_path: Path) -> None:
        notes = StateFile(tmp_path / "gone" / "stack.json")
        running = [process.spawn(["sleep", "60"], log=tmp_path / "log") for _ in range(2)]
        parts = [ControlPlane(name=name, port=1, log=tmp_path / "log", database_url="") for name in ("api", "maintain")]
        for part, identity in zip(parts, running, strict=True):
            with pytest.raises(ConfigError, match=r"cannot write .*stack\.json: No such file"):
                notes.started(part.name, identity)
        Supervisor(notes, print).take_down(parts)
        assert [identity.process() for identity in running] == [None, None]
        assert notes.state.parts == {}

    def test_a_part_that_only_somebody_else_serves_is_not_ready(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            part = ControlPlane(
                name="api",
                port=stranger.getsockname()[1],
                log=tmp_path / "log",
                database_url="",
                start_timeout_s=0.1,
                stop_grace_s=1,
            )
            stranger.settimeout(0.0)
            identity = process.spawn(["sleep", "60"], log=part.log)
            with pytest.raises(ConfigError, match="api did not start on port"):
                part.wait_ready(identity)
            part.stop(identity)


class TestSessions:
    def test_what_a_killed_head_left_is_found_and_ended(self, tmp_path: Path) -> None:
        with _family(tmp_path) as (head, orphan):
            os.kill(head.pid, signal.SIGKILL)
            _wait_until(lambda: head.process() is None)
            assert [member.pid for member in ray.family(head, tmp_path)] == [orphan.pid]
            ray.stop(head, tmp_path)
            assert orphan.process() is None

    def test_a_session_that_only_has_the_number_is_left_alone(self, tmp_path: Path) -> None:
        with _family(tmp_path) as (stranger, child):
            before_the_reboot = ProcessId(stranger.pid, stranger.started - 1000)
            ray.stop(before_the_reboot, tmp_path / "elsewhere")
            assert stranger.process() is not None
            assert child.process() is not None


def _document(directory: Path) -> dict[str, object]:
    chosen = portbook.choose({}, api=None, free=always)
    models = configuration.tiny_models(lambda family: directory / family.name)
    return configuration.document(chosen, secrets.load_or_make(directory), models)


def _without_empty(content: object) -> object:
    """TOML's writer here leaves out empty tables: a section without keys says nothing."""
    if not isinstance(content, dict):
        return content
    kept = {key: _without_empty(value) for key, value in content.items()}
    return {key: value for key, value in kept.items() if value != {}}


@contextmanager
def _family(directory: Path) -> Iterator[tuple[ProcessId, ProcessId]]:
    """A leader in a session of its own, and a child of it that survives its death."""
    note = directory / "child"
    script = f"sleep 60 & echo $! > {note}.tmp; mv {note}.tmp {note}; wait"
    leader = process.spawn(["/bin/sh", "-c", script], log=directory / "log")
    try:
        _wait_until(note.exists)
        child = ProcessId.of(int(note.read_text()))
        yield leader, child
    finally:
        members = [found for identity in (leader, child) if (found := identity.process()) is not None]
        process.kill_all(members)


def _wait_until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
