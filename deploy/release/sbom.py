"""Prints what is installed around it as a CycloneDX 1.6 document: Python's packages and Debian's.

Read from standard input by the Python of an image, so it needs nothing but the standard library:

    docker run --rm --interactive --entrypoint python3 cogmill:0.1.0 - cogmill 0.1.0 1767225600 < deploy/release/sbom.py

The arguments are the image's name, its version and the moment (seconds since 1970) that the document says. Two images
with the same packages give the same document.
"""

import json
import re
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")


def normal(name: str) -> str:
    """A package's name as the index and purl write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_component(package: Distribution) -> dict[str, Any]:
    name, version = normal(package.metadata["Name"]), package.version
    purl = f"pkg:pypi/{name}@{quote(version)}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    expression = package.metadata.get("License-Expression")
    said = (package.metadata.get("License") or "").strip()
    if expression:
        component["licenses"] = [{"expression": expression}]
    elif said and "\n" not in said and len(said) < 100:
        component["licenses"] = [{"license": {"name": said}}]
    else:
        classifiers = package.metadata.get_all("Classifier") or ()
        trove = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License ::")]
        if trove:
            component["licenses"] = [{"license": {"name": each}} for each in sorted(set(trove))]
    return component


def debian_components(status: str) -> list[dict[str, Any]]:
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.+)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version, built = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={built}"
            found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def document(image: str, version: str, moment: int) -> dict[str, Any]:
    # The first of a name is the one that is imported.
    packages: dict[str, Distribution] = {}
    for package in distributions():
        packages.setdefault(normal(package.metadata["Name"]), package)
    components = {name: python_component(package) for name, package in packages.items()}
    itself = {"type": "container", "bom-ref": image, "name": image, "version": version}
    debian = debian_components(DPKG.read_text("utf-8")) if DPKG.exists() else []
    edges = []
    for name, package in packages.items():
        wanted = [each for each in package.requires or () if not re.search(r"\bextra\s*==", each)]
        names = {normal(match[0]) for each in wanted if (match := re.match(r"[\w.-]+", each))} & components.keys()
        refs = sorted(components[each]["bom-ref"] for each in names)
        edges.append({"ref": components[name]["bom-ref"], "dependsOn": refs})
    contents = sorted([*components.values(), *debian], key=lambda each: each["bom-ref"])
    top = {"ref": image, "dependsOn": [each["bom-ref"] for each in contents]}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([image, version, contents]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"timestamp": f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}", "component": itself},
        "components": contents,
        "dependencies": [top, *sorted(edges, key=lambda each: str(each["ref"]))],
    }


if __name__ == "__main__":
    name, version, moment = sys.argv[1:]
    json.dump(document(name, version, int(moment)), sys.stdout, indent=1, sort_keys=True)
