"""`helm test`: the API answers, its database is there, and as many workers are ready as are always there.

Arguments: the URLs of the API, the dispatchers and the controller, how many workers, for how many seconds to wait, the
release's name. In a roll there is a dispatcher for each Ray cluster, and the name in their URL has an address for each.
Workers of the old cluster do not stand for those of the new one: while that has not taken over, the test waits.
"""

import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from urllib.parse import urlsplit

# Two looks of the controller: before them it may not know of the upgrade that this test follows.
LOOKS_S = 10.0


def read(url: str) -> str:
    """What a GET answers, with the token of `/metrics` where there is one; raises `OSError` for anything but 200."""
    token = os.environ.get("COGMILL_METRICS__TOKEN")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(reply.read().decode())


def each_of(url: str) -> list[str]:
    """The same URL at each address that its host has; raises `OSError` where it has none."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"http://{f'[{host}]' if ':' in host else host}:{parts.port}" for host in hosts]


def states(gauge: str, metrics: str) -> Counter[str]:
    """How many of what a gauge counts are in each state, over all its other labels."""
    found: Counter[str] = Counter()
    for labels, value in re.findall(rf"^{gauge}\{{(.*)\}} (\S+)$", metrics, re.MULTILINE):
        found[re.findall(r'state="(\w+)"', labels)[0]] += int(float(value))
    return found


def told(found: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items()) if count) or "none"


def workers(dispatchers: str) -> tuple[Counter[str], str]:
    """How many are in each state, and that in words."""
    try:
        pages = [read(f"{each}/metrics") for each in each_of(dispatchers)]
    except OSError as error:
        return Counter(), f"no dispatcher answers: {error}"
    found = sum((states("cogmill_workers", page) for page in pages), Counter[str]())
    return found, told(found)


def roll(controller: str) -> tuple[bool, str]:
    """Whether one cluster has taken over from all others, and how they stand."""
    try:
        found = states("cogmill_ray_clusters", read(f"{controller}/metrics"))
    except OSError as error:
        return False, f"the controller does not answer: {error}"
    carrying = found["serving"] + found["yielding"] + found["kept"]
    return not found["coming"] and carrying == 1, told(found)


def main(api: str, dispatchers: str, controller: str, wanted: int, wait_s: float, release: str) -> int:
    began = time.monotonic()
    for path in ("/healthz", "/readyz"):
        read(api + path)
        print(f"{path}: well")
    while True:
        found, working = workers(dispatchers)
        rolled, standing = roll(controller)
        # Where none are always there, a cluster may be `coming` until there is work.
        well, waited_s = found["ready"] >= wanted and (rolled or not wanted), time.monotonic() - began
        if well and (waited_s >= min(LOOKS_S, wait_s) or not wanted):
            print(f"workers: {working}\nRay clusters: {standing}")
            return 0
        if waited_s > wait_s:
            break
        time.sleep(2)
    print(f"workers: {working}; {wanted} must be ready. GPU pods pending? Weights? See:")
    print(f"  kubectl get pods -l app.kubernetes.io/instance={release},app.kubernetes.io/component=ray-worker")
    if not rolled:
        print(f"Ray clusters: {standing}; one must carry the load, and none be coming. In a roll see:")
        print(f"  kubectl exec deploy/{urlsplit(controller).hostname} -- cogmill clusters")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]), sys.argv[6]))
