"""Files of a Hugging Face repository at one commit. Its token comes from the environment (`HF_TOKEN`)."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# The base of what its HTTP library raises, which was httpx in 1.x and is httpx2 since.
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]
from huggingface_hub.utils.tqdm import disable_progress_bars

from orchestrator.domain.errors import ConfigError, ObjectsUnavailable
from workers.modelfiles import layout, manifest
from workers.modelfiles.manifest import Entry, Manifest

_SOURCE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<only>[^@]+\.safetensors))?(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class HubRemote:
    """`hf://organisation/name@revision`, by default `main`; `hf://organisation/name/file.safetensors` is one file."""

    source: str
    repo: str
    only: str | None
    revision: str

    @classmethod
    def parse(cls, source: str) -> HubRemote:
        found = _SOURCE.fullmatch(source)
        if found is None:
            raise ConfigError(f"source {source!r} must be hf://organisation/name@revision")
        disable_progress_bars()
        return cls(source, found["repo"], found["only"], found["revision"] or "main")

    def listing(self) -> Manifest:
        with self._errors():
            info = HfApi().model_info(self.repo, revision=self.revision, files_metadata=True, timeout=_TIMEOUT_S)
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        names = layout.single(self.only, siblings) if self.only else layout.wanted(siblings)
        manifest.require_inside(names, self.source)
        if not names:
            raise ConfigError(f"{self.source}: there is nothing to load in it")
        return Manifest(
            source=self.source,
            revision=str(info.sha),
            # Small files are kept in git, which tells no SHA-256 of them.
            files={
                name: Entry(siblings[name].size or 0, lfs.sha256 if (lfs := siblings[name].lfs) else None)
                for name in names
            },
        )

    def download(self, listed: Manifest, name: str, into: Path, stop: Event) -> None:
        # The library resumes by itself, from notes in `into/.cache`; it cannot be told to stop within a file.
        if not stop.is_set():
            with self._errors():
                hf_hub_download(self.repo, name, revision=listed.revision, local_dir=into)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The library's errors as ours: some of them are subclasses of each other, and of `OSError`."""
        try:
            yield
        except GatedRepoError:
            raise ConfigError(f"{self.source}: its licence must be accepted, with HF_TOKEN's account") from None
        except RepositoryNotFoundError:
            raise ConfigError(f"{self.source}: there is no such repository, or HF_TOKEN may not read it") from None
        except RevisionNotFoundError:
            raise ConfigError(f"{self.source}: the repository has no revision {self.revision}") from None
        except RemoteEntryNotFoundError as error:
            raise ConfigError(f"{self.source}: {error}") from None
        except HFValidationError as error:
            raise ConfigError(f"source {self.source!r}: {error}") from None
        except OfflineModeIsEnabled:
            raise ConfigError(f"{self.source} is not on this node, and HF_HUB_OFFLINE forbids to fetch it") from None
        except (HfHubHTTPError, TransportError) as error:
            raise ObjectsUnavailable(f"the Hub does not answer: {error}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            raise ObjectsUnavailable(f"the Hub broke off: {error}") from error
