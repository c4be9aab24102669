"""Where the ranks of a worker meet: a file that only their user opens, or across nodes a store behind a gate."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

# `torch.distributed.TCPStore`, which type checkers do not find there.
from torch._C._distributed_c10d import FileStore, Store, TCPStore

from workers.parallel.gate import Gate, Way

# A rank starts once its GPU is free; one that a dead leader's follower held is soon.
JOIN_S = 600.0

_LOOPBACK = "127.0.0.1"
# What gloo and NCCL listen on, where nobody has chosen otherwise.
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class Meeting:
    """A key-value store of the ranks, and what a follower has to know to find it: its secret is part of that."""

    store: Store
    address: str
    # What lives as long as the store is needed.
    kept: Gate | Way | None = None

    @classmethod
    def on_one_node(cls, directory: Path) -> Meeting:
        """The leader's, of ranks that are all on its node. `directory` is nobody else's.

        Raises `OSError` where no file can be made there.
        """
        path = Path(tempfile.mkdtemp(prefix="ranks-", dir=directory)) / "store"
        return cls._in_file(path)

    @classmethod
    def across_nodes(cls, host: str) -> Meeting:
        """The leader's, on a free port of `host`, which followers on other nodes reach.

        Raises `OSError` where it cannot listen, `RuntimeError` where torch's store cannot begin.
        """
        listener = socket.create_server((_LOOPBACK, 0))
        port = int(listener.getsockname()[1])
        join = timedelta(seconds=JOIN_S)
        # A store that opens its own socket would listen on every address, whatever host it is given.
        store = TCPStore(
            _LOOPBACK, port, is_master=True, timeout=join, wait_for_workers=False, master_listen_fd=listener.detach()
        )
        secret = secrets.token_bytes(32)
        gate = Gate(host, port, secret)
        return cls(store, f"gate:{host}:{gate.port}:{secret.hex()}", gate)

    @classmethod
    def at(cls, address: str) -> Meeting:
        """The leader's, for a follower.

        Raises `ValueError` for what is no address of a meeting, `OSError` where it cannot listen, and `RuntimeError`
        when the store does not answer within `JOIN_S`.
        """
        kind, _, place = address.partition(":")
        if kind == "file":
            return cls._in_file(Path(place))
        where, _, secret = place.rpartition(":")
        host, _, port = where.rpartition(":")
        way = Way(host, int(port), bytes.fromhex(secret), patience_s=JOIN_S)
        store = TCPStore(_LOOPBACK, way.port, is_master=False, timeout=timedelta(seconds=JOIN_S))
        return cls(store, address, way)

    @classmethod
    def _in_file(cls, path: Path) -> Meeting:
        """Ranks that meet there need no other address than the loopback's."""
        loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
        if loopback is not None:
            for variable in _INTERFACES:
                os.environ.setdefault(variable, loopback)
        store = FileStore(str(path))
        store.set_timeout(timedelta(seconds=JOIN_S))
        return cls(store, f"file:{path}")
