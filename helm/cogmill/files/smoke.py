"""`helm test`: the API answers, its database is there, and as many workers are ready as are always there.

Arguments: the API's URL, the dispatchers' URL, how many workers, for how many seconds to wait, the release's name. In a
roll there is a dispatcher for each Ray cluster, and the name in their URL has an address for each.
"""

import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from urllib.parse import urlsplit


def read(url: str) -> str:
    """What a GET answers; raises `OSError` for anything but 200."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        return str(reply.read().decode())


def each_of(url: str) -> list[str]:
    """The same URL at each address that its host has; raises `OSError` where it has none."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"http://{f'[{host}]' if ':' in host else host}:{parts.port}" for host in hosts]


def workers(metrics: str) -> Counter[str]:
    """How many workers are in each state, over all pools."""
    found: Counter[str] = Counter()
    for labels, value in re.findall(r"^cogmill_workers\{(.*)\} (\S+)$", metrics, re.MULTILINE):
        found[re.findall(r'state="(\w+)"', labels)[0]] += int(float(value))
    return found


def main(api: str, dispatchers: str, wanted: int, wait_s: float, release: str) -> int:
    until = time.monotonic() + wait_s
    for path in ("/healthz", "/readyz"):
        read(api + path)
        print(f"{path}: well")
    while True:
        try:
            found = sum((workers(read(f"{each}/metrics")) for each in each_of(dispatchers)), Counter[str]())
            told = ", ".join(f"{count} {state}" for state, count in sorted(found.items()) if count) or "none"
        except OSError as error:
            found, told = Counter(), f"no dispatcher answers: {error}"
        if found["ready"] >= wanted:
            print(f"workers: {told}")
            return 0
        if time.monotonic() > until:
            break
        time.sleep(2)
    print(f"workers: {told}; {wanted} must be ready. GPU pods pending? Weights? See:")
    print(f"  kubectl get pods -l app.kubernetes.io/instance={release},app.kubernetes.io/component=ray-worker")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]))
