"""A folder of secrets as Kubernetes mounts and changes it: links into a folder that is exchanged as a whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest


class SecretsFolder:
    """`COGMILL_SECRETS_DIR`, with the kubelet's own way of changing it (`atomic_writer.go` of Kubernetes)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count()
        path.mkdir()

    def write(self, **texts: str) -> None:
        """All that it holds from now on."""
        state = self.path / f"..state_{next(self._numbers)}"
        state.mkdir()
        for name, text in texts.items():
            (state / name).write_text(f"{text}\n")
        link = self.path / "..data_tmp"
        link.symlink_to(state.name)
        link.rename(self.path / "..data")
        shown = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        for name in texts.keys() - shown:
            (self.path / name).symlink_to(f"..data/{name}")
        for name in shown - texts.keys():
            (self.path / name).unlink()


@pytest.fixture
def secrets_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretsFolder:
    folder = SecretsFolder(tmp_path / "secrets")
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(folder.path))
    return folder
