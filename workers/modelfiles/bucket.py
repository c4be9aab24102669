"""Files below `s3://bucket/prefix`, read with the deployment's own S3 endpoint and keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError, NotFound
from workers.modelfiles import layout, manifest
from workers.modelfiles.manifest import Entry, Manifest


@dataclass(frozen=True, slots=True)
class BucketRemote:
    """A prefix, ending in `/`, of which all wanted objects are the source's; or a single file below it."""

    source: str
    objects: S3Objects
    prefix: str
    only: str | None

    @classmethod
    def parse(cls, source: str, s3: S3Settings) -> BucketRemote:
        parts = urlsplit(source)
        path = parts.path.strip("/")
        if not parts.netloc or not path or parts.query or parts.fragment:
            raise ConfigError(f"source {source!r} must be s3://bucket/prefix")
        objects = S3Objects(s3.model_copy(update={"bucket": parts.netloc}))
        if path.endswith(".safetensors"):
            directory, _, name = path.rpartition("/")
            return cls(source, objects, f"{directory}/" if directory else "", name)
        return cls(source, objects, f"{path}/", None)

    def listing(self) -> Manifest:
        listed = {
            entry.key.removeprefix(self.prefix): entry
            for name in ((self.only, layout.ADAPTER_CONFIG) if self.only else ("",))
            for entry in self.objects.list_objects(self.prefix + name)
            if not entry.key.endswith("/")  # some tools mark folders by empty objects
        }
        if self.only is None and manifest.NAME in listed:
            return self._pushed({name: entry.size for name, entry in listed.items()})
        names = layout.single(self.only, listed) if self.only else layout.wanted(listed)
        manifest.require_inside(names, self.source)
        if not names:
            raise ConfigError(f"{self.source}: there is nothing to load below it")
        # The ETag names the content of an object, though not every S3 says how; together they name the revision.
        told = repr([(name, listed[name].size, listed[name].etag) for name in names])
        return Manifest(
            source=self.source,
            revision=hashlib.sha256(told.encode()).hexdigest()[:16],
            files={name: Entry(listed[name].size, None) for name in names},
        )

    def download(self, listed: Manifest, name: str, into: Path, stop: Event) -> None:
        path, size = into / name, listed.files[name].size
        path.parent.mkdir(parents=True, exist_ok=True)
        start = path.stat().st_size if path.is_file() else 0
        if start > size:
            path.unlink()
            start = 0
        if start == size and path.is_file():
            return
        with path.open("ab") as file:
            try:
                for chunk in self.objects.stream(self.prefix + name, start=start):
                    if stop.is_set():
                        return
                    file.write(chunk)
            except NotFound:
                raise ConfigError(f"{self.source}: {name} went while it was fetched") from None

    def _pushed(self, sizes: dict[str, int]) -> Manifest:
        key = self.prefix + manifest.NAME
        pushed = Manifest.from_json(self.objects.get(key), f"{self.source}/{manifest.NAME}")
        for name, entry in pushed.files.items():
            if sizes.get(name) != entry.size:
                found = f"{sizes[name]} bytes" if name in sizes else "nothing"
                raise ConfigError(f"{self.source}: {name} should have {entry.size} bytes, and there is {found}")
        return Manifest(source=self.source, revision=pushed.revision, files=pushed.files)
