"""Writes api/console/static/vendor: what the console is made of, as npm packs it, at the versions that stand here.

Needs npm. A package whose sum differs is not unpacked. Beside the files go their licences and `SHA256SUMS`.
Each module has a `.d.ts` beside it, which leads `tsc` to the package's types; `--types FOLDER` puts those there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "api/console/static/vendor"


@dataclass(frozen=True)
class Package:
    """`files` are the paths in the package that are kept, by the names that they get."""

    name: str
    version: str
    sha512: str
    files: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.name.replace("@", "").replace("/", "-")


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==",
        {"preact.js": "dist/preact.mjs", "hooks.js": "hooks/dist/hooks.mjs"},
    ),
    Package(
        "@preact/signals-core",
        "1.14.5",
        "vcRv7Ityz5JVmeiVqIluLFzT/PDS/AlhHUpw3/aUWqcVUs6bDGIPXE/6RSC4evBNWYvnniozg5Syfj33al3gkg==",
        {"signals-core.js": "dist/signals-core.mjs"},
    ),
    Package(
        "@preact/signals",
        "2.11.4",
        "Rb+5RPo9gWSaHtzJeauhHxiC8KP/IF2DEPkHPEOGOnuy2wnJzRqyeLRankUCYd6ADqtxS6GnWGv6Ie343d8aYw==",
        {"signals.js": "dist/signals.mjs"},
    ),
    Package(
        "htm",
        "3.1.1",
        "983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==",
        {"htm.js": "dist/htm.mjs"},
    ),
    Package(
        "uplot",
        "1.6.32",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {"uplot.js": "dist/uPlot.iife.min.js", "uplot.css": "dist/uPlot.min.css"},
    ),
)

# What a browser cannot find by its bare name, without an import map in the page, which the policy forbids.
MODULES = {
    "preact/hooks": "./hooks.js",
    "preact": "./preact.js",
    "@preact/signals-core": "./signals-core.js",
}
# uPlot's only small build is a script; this makes a module of it.
_EXPORT = "\nexport default uPlot;\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=VENDOR)
    parser.add_argument("--types", type=Path)
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for package in PACKAGES:
            unpacked = fetch(package, Path(work))
            keep(package, unpacked, asked.into)
            if asked.types:
                keep_types(package, unpacked, asked.types)
    write_sums(asked.into)


def fetch(package: Package, work: Path) -> Path:
    """The folder of the unpacked package, once its sum is seen to be right."""
    spec = f"{package.name}@{package.version}"
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(work), spec], check=True, capture_output=True, text=True
    )
    archive = work / packed.stdout.strip().splitlines()[-1]
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != package.sha512:
        sys.exit(f"{spec} is not what was pinned: sha512-{found}")
    folder = work / package.folder
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package"


def keep(package: Package, unpacked: Path, into: Path) -> None:
    for name, path in package.files.items():
        text = (unpacked / path).read_text()
        (into / name).write_text(module(text) if name.endswith(".js") else text)
        if name.endswith(".js"):
            bare = f"{package.name}/hooks" if name == "hooks.js" else package.name
            (into / f"{name.removesuffix('.js')}.d.ts").write_text(declaration(bare))
    (into / f"LICENSE-{package.folder}").write_text((unpacked / "LICENSE").read_text())


def module(text: str) -> str:
    """The same code as a module that finds its neighbours, and names no map of sources that is not here."""
    text = re.sub(r"\n?//# sourceMappingURL=.*\n?", "\n", text)
    for bare, relative in MODULES.items():
        text = re.sub(rf"""(from\s*|import\s*)(["']){re.escape(bare)}\2""", rf"\g<1>\g<2>{relative}\g<2>", text)
    return text + _EXPORT if "var uPlot=function" in text else text


def declaration(bare: str) -> str:
    """What says that a file's types are those of a package."""
    default = f'export {{ default }} from "{bare}";\n' if bare in ("htm", "uplot") else ""
    return f'export * from "{bare}";\n{default}'


def keep_types(package: Package, unpacked: Path, types: Path) -> None:
    """Lay the package where `tsc` looks for it, `types` being its `node_modules`."""
    target = types / package.name
    for declaration in [*unpacked.rglob("*.d.ts"), unpacked / "package.json"]:
        copy = target / declaration.relative_to(unpacked)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(declaration.read_bytes())


def write_sums(into: Path) -> None:
    kept = sorted(path for path in into.iterdir() if path.name not in ("SHA256SUMS", "VERSIONS.json"))
    versions = {package.name: package.version for package in PACKAGES}
    (into / "VERSIONS.json").write_text(json.dumps(versions, indent=2) + "\n")
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in kept)
    (into / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
