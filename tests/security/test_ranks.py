"""The ranks of a worker: strangers neither come to where they meet, nor run anything by what they say."""

from __future__ import annotations

import os
import pickle
import resource
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch
from torch import distributed
from torch._C._distributed_c10d import TCPStore

from orchestrator.domain.catalog import Profile
from orchestrator.domain.job import Artifact
from tests.support.builders import a_spec
from workers.parallel import words
from workers.parallel.gate import Gate, Way
from workers.parallel.group import Group
from workers.parallel.meeting import Meeting
from workers.parallel.words import Step

# An address of this machine that is not the one on which everything listens anyway.
NODE = "127.0.0.2"
SOON = timedelta(seconds=1)


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    found = Meeting.across_nodes(NODE)
    yield found
    assert found.kept is not None
    found.kept.close()


def listening() -> set[tuple[str, int]]:
    connections = psutil.Process().net_connections("tcp")
    return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}


def hung_up(line: socket.socket) -> bool:
    """Whether the other end has gone without another word."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:  # with something still unread
        return True


def test_a_store_across_nodes_listens_on_the_loopback_and_its_gate_on_the_nodes_address() -> None:
    before = listening()
    meeting = Meeting.across_nodes(NODE)
    assert sorted(ip for ip, _ in listening() - before) == ["127.0.0.1", NODE]
    assert meeting.kept is not None
    meeting.kept.close()


def test_a_follower_with_the_address_comes_to_the_store(meeting: Meeting) -> None:
    follower = Meeting.at(meeting.address)
    follower.store.set("from", "follower")
    assert meeting.store.get("from") == b"follower"
    assert follower.kept is not None
    follower.kept.close()


def test_a_stranger_at_the_gate_reads_and_writes_nothing(meeting: Meeting) -> None:
    meeting.store.set("mine", "leader")
    host, port = NODE, int(meeting.address.split(":")[2])
    with pytest.raises(RuntimeError):
        TCPStore(host, port, is_master=False, timeout=SOON).set("mine", "stranger")
    for proof in (bytes(64), os.urandom(64), b"\x80\x04" + bytes(62)):
        with socket.create_connection((host, port), timeout=30) as line:
            line.recv(32)
            line.sendall(proof)
            assert hung_up(line)
    wrong = meeting.address[:-2] + ("00" if meeting.address[-2:] != "00" else "11")
    way = Way(host, port, bytes.fromhex(wrong.rpartition(":")[2]), patience_s=0.5)
    with socket.create_connection(("127.0.0.1", way.port), timeout=30) as line:
        assert hung_up(line)
    way.close()
    assert meeting.store.get("mine") == b"leader"
    assert meeting.store.num_keys() == 1


def test_a_follower_says_nothing_to_whoever_pretends_to_be_its_leader() -> None:
    """It proves itself, by a number that is used once, and hears no proof."""
    with socket.create_server(("127.0.0.1", 0)) as pretender:
        way = Way("127.0.0.1", pretender.getsockname()[1], b"secret", patience_s=0.1)
        with socket.create_connection(("127.0.0.1", way.port), timeout=30) as own:
            own.sendall(b"what a rank says")
            line, _ = pretender.accept()
            line.settimeout(30)
            line.sendall(bytes(32))
            heard = b""
            while len(heard) < 64:
                heard += line.recv(64)
            line.sendall(bytes(32))
            assert hung_up(line)
            assert hung_up(own)
        line.close()
        way.close()


@contextmanager
def gate_before(store: socket.socket, greeting_s: float = 10.0) -> Iterator[Gate]:
    gate = Gate(NODE, store.getsockname()[1], b"secret", greeting_s=greeting_s)
    yield gate
    gate.close()


@pytest.fixture
def store() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield listener


def come_in(gate: Gate, store: socket.socket, patience_s: float = 30.0) -> None:
    """A follower's word gets to the store."""
    way = Way(NODE, gate.port, b"secret", patience_s=patience_s)
    with socket.create_connection(("127.0.0.1", way.port), timeout=30) as own:
        own.sendall(b"here")
        line, _ = store.accept()
        assert line.recv(4) == b"here"
        line.close()
    way.close()


def drip(lines: list[socket.socket], over: threading.Event) -> None:
    while not over.wait(0.4):
        for line in lines:
            with suppress(OSError):  # it was sent away
                line.send(b"x")


def test_strangers_that_say_next_to_nothing_do_not_keep_a_follower_out(store: socket.socket) -> None:
    """More of them than may try at once, each of which says something before anybody loses patience."""
    over = threading.Event()
    with gate_before(store, greeting_s=1.0) as gate:
        strangers = [socket.create_connection((NODE, gate.port)) for _ in range(80)]
        dripping = threading.Thread(target=drip, args=(strangers, over))
        dripping.start()
        try:
            come_in(gate, store, patience_s=15)  # sooner than any of them has said enough to be found out
        finally:
            over.set()
            dripping.join()
            for each in strangers:
                each.close()


def test_a_gate_outlives_a_lack_of_descriptors(store: socket.socket) -> None:
    with gate_before(store) as gate, socket.socket() as first, socket.socket() as second:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        first.settimeout(1)
        second.settimeout(30)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            first.connect((NODE, gate.port))
            with suppress(TimeoutError):  # for a gate that waits there is a descriptor; the next one lacks it
                first.recv(32)
            second.connect((NODE, gate.port))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(second.recv(32)) == 32
        come_in(gate, store)


def test_a_gate_outlives_a_lack_of_threads(monkeypatch: pytest.MonkeyPatch, store: socket.socket) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with gate_before(store) as gate:
        with monkeypatch.context() as few:
            few.setattr(threading.Thread, "start", none)
            with socket.create_connection((NODE, gate.port), timeout=30) as line:
                assert hung_up(line)
        come_in(gate, store)


def test_a_gate_that_is_closed_lets_nobody_in(store: socket.socket) -> None:
    with gate_before(store) as gate:
        come_in(gate, store)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((NODE, gate.port), timeout=30)


def test_ranks_of_one_node_meet_in_a_file_of_theirs_and_listen_on_the_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(variable, "")  # so that what is set here is gone afterwards
        monkeypatch.delenv(variable)
    before = listening()
    meeting = Meeting.on_one_node(tmp_path)
    directory = Path(meeting.address.partition(":")[2]).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    group = Group(meeting, 0, 1, torch.device("cpu"))
    try:
        with group.together():
            pass
        found = {ip for ip, _ in listening() - before}
    finally:
        distributed.destroy_process_group()
    assert found == {"127.0.0.1"}
    assert os.environ["GLOO_SOCKET_IFNAME"] == os.environ["NCCL_SOCKET_IFNAME"] == "lo"


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return os.putenv, ("COGMILL_BOMB", "gone off")


def test_a_pickle_is_no_word() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(ValueError, match=r".") as refused:
            words.read(pickle.dumps(_Bomb(), protocol))
        assert "Bomb" not in str(refused.value)


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b"1", b'{"render": 1}', b'{"render": 0, "layouts": []}'])
def test_what_is_no_word_is_refused(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        words.read(said)


def test_words_arrive_as_they_were_said() -> None:
    layouts = {
        "hidden_states": (torch.Size([2, 3]), torch.bfloat16),
        "timestep": (torch.Size([]), torch.int64),
        "ofs": (torch.Size([1]), torch.float32),
    }
    image = Artifact(key="inputs/a", size=3, sha256="0" * 64, content_type="image/png")
    spec = a_spec(prompt='a müll "mill"\n', image=image, guidance_scale=6.1, profile=Profile.FAST, strict_prompt=True)
    step = Step(render=3, spec=spec, done=2, dropped=(0, 1), layouts=layouts)
    for word in (step, "flash", "", None):
        assert words.read(words.written(word)) == word
