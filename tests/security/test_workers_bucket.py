"""A worker without keys of S3: what it has is good for its own claims, and for nothing else in the bucket."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.adapters.s3_urls import UrlObjects, Wallet
from orchestrator.capacity.plans import plans
from orchestrator.commands import doctor
from orchestrator.config import S3Settings, Settings
from orchestrator.dispatch.urls import keys_of
from orchestrator.domain.errors import IntegrityError, ObjectsRefused, ObjectsUnavailable
from orchestrator.domain.objects import claim_prefix, result_key
from orchestrator.domain.protocol import Assignment
from tests.support.builders import a_claim, a_spec
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.sources import ROOT

# What a worker does with its claim's URLs, and then what somebody does who has taken it over.
WORKER = """
import json, os, sys
from pathlib import Path
from uuid import uuid4
from orchestrator.adapters.s3_urls import UrlObjects, Wallet
from orchestrator.config import S3Settings

told = json.load(sys.stdin)
wallet = Wallet()
wallet.take(uuid4(), told["reads"], told["writes"])
objects = UrlObjects(S3Settings.model_validate(told["s3"]), wallet)
read = {key: objects.get(key).decode() for key in told["inputs"]}
video = Path(told["scratch"]) / "video.mp4"
video.write_bytes(os.urandom(20 << 20))
moved = []
sizes = {}
for key in told["writes"]:
    if key.endswith(".mp4"):
        sizes[key] = objects.upload(key, video, "video/mp4", on_progress=lambda: moved.append(1)).size
    else:
        sizes[key] = objects.put(key, key.encode(), "application/octet-stream").size
print(json.dumps({"read": read, "sizes": sizes, "moved": len(moved), "environment": dict(os.environ)}))
"""


@pytest.fixture
def s3(s3_server: S3Server) -> S3Settings:
    return s3_server.new_bucket(worker_access="presigned")


@pytest.fixture
def bucket(s3: S3Settings) -> S3Objects:
    return S3Objects(s3)


def assigned(bucket: S3Objects, **changes: object) -> Assignment:
    image = bucket.put("inputs/picture", b"a picture", "image/png")
    return Assignment.of(a_claim(spec=a_spec(image=image, num_inference_steps=3), **changes))


def signed(bucket: S3Objects, assignment: Assignment, *, lifetime_s: int = 600) -> Assignment:
    urls = bucket.sign(*keys_of(assignment), lifetime_s=lifetime_s)
    return replace(assignment, reads=urls.reads, writes=urls.writes)


def holding(s3: S3Settings, *assignments: Assignment) -> tuple[UrlObjects, Wallet]:
    wallet = Wallet()
    for each in assignments:
        wallet.take(each.token, each.reads, each.writes)
    return UrlObjects(s3.for_workers, wallet), wallet


def test_a_process_without_any_key_renders_from_and_into_the_bucket(
    s3: S3Settings, bucket: S3Objects, tmp_path: Path
) -> None:
    assignment = signed(bucket, assigned(bucket))  # the first one also reads what botocore knows of S3
    began = time.process_time()
    assignment = signed(bucket, assignment)
    assert assignment.reads is not None
    assert assignment.writes is not None
    urls = len(assignment.reads) + len(assignment.writes)
    print(f"{urls} URLs signed, {(time.process_time() - began) / urls * 1000:.2f} ms of CPU each")
    told = {
        "reads": assignment.reads, "writes": assignment.writes, "scratch": str(tmp_path), "inputs": ["inputs/picture"],
        "s3": s3.for_workers.model_dump(mode="json"),
    }  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=json.dumps(told), text=True, capture_output=True, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["read"] == {"inputs/picture": "a picture"}
    assert not [name for name in said["environment"] if name.startswith(("AWS", "COGMILL"))]
    assert SECRET_KEY not in json.dumps(told)
    assert ACCESS_KEY not in json.dumps(told["s3"])
    prefix = claim_prefix(assignment.job_id, assignment.claim)
    assert {key: bucket.size(key) for key in bucket.list_keys(prefix)} == said["sizes"]
    assert set(said["sizes"]) == set(assignment.writes)
    assert said["moved"] >= 2 * (20 << 20) // (64 * 1024), "up and down again, or a watchdog would not see it move"


def test_a_plan_for_a_worker_holds_no_key(s3: S3Settings) -> None:
    """Ray keeps what an actor is started with, and shows it to whoever has its token."""
    sections = {
        "database_url": "postgresql://localhost/x",
        "default_model": "small",
        "models": {"small": {"family": "tiny-2b", "path": "/none"}},
        "pools": {"gpu": {"model": "small"}},
    }
    keys = {"signing_access_key": "signs-for-us", "signing_secret_key": "signing-secret"}
    given = s3.model_dump(mode="json") | {"secret_key": SECRET_KEY} | keys
    for access, there in (("presigned", False), ("shared", True)):
        settings = Settings.model_validate(sections | {"s3": given | {"worker_access": access}})
        (plan,) = plans(settings).values()
        for secret in (SECRET_KEY, ACCESS_KEY, "signs-for-us", "signing-secret"):
            assert (secret.encode() in pickle.dumps(plan)) is there, (access, secret)


def _elsewhere(url: str, key: str, other: str) -> str:
    assert key in url
    return url.replace(key, other)


def test_what_it_has_opens_nothing_else(s3: S3Settings, bucket: S3Objects) -> None:
    mine, others = signed(bucket, assigned(bucket)), assigned(bucket)
    assert mine.reads is not None
    assert mine.writes is not None
    theirs = claim_prefix(others.job_id, others.claim) + "video.mp4"
    earlier = claim_prefix(mine.job_id, mine.claim + 1) + "video.mp4"
    for key in (theirs, earlier):
        bucket.put(key, b"another's video", "video/mp4")
    own = result_key(mine.job_id, mine.claim)
    put, get = mine.writes[own], mine.reads[own]
    image = mine.reads["inputs/picture"]
    root = f"{s3.endpoint_url}/{s3.bucket}"
    with httpx.Client(trust_env=False) as http:
        refused = {
            "write over another's": http.put(_elsewhere(put, own, theirs), content=b"forged"),
            "write over another claim's": http.put(_elsewhere(put, own, earlier), content=b"forged"),
            "read another's": http.get(_elsewhere(get, own, theirs)),
            "write its input": http.put(image, content=b"forged"),
            "delete its input": http.delete(image),
            "delete by a URL that writes": http.delete(put),
            "list": http.get(f"{root}?list-type=2&{urlsplit(get).query}"),
            "read without a URL": http.get(f"{root}/{theirs}"),
            "write without a URL": http.put(f"{root}/{theirs}", content=b"forged"),
            "for longer": http.put(put.replace("X-Amz-Expires=600", "X-Amz-Expires=604800"), content=b"forged"),
        }
    # rclone says 400 where nothing is signed.
    assert {what: answer.status_code for what, answer in refused.items() if answer.status_code not in (400, 403)} == {}
    assert {key: bucket.get(key) for key in (theirs, earlier)} == dict.fromkeys((theirs, earlier), b"another's video")
    assert bucket.get("inputs/picture") == b"a picture"
    assert parse_qs(urlsplit(put).query)["X-Amz-Expires"] == ["600"]


def test_a_claim_that_is_over_can_no_longer_be_written_and_one_that_goes_on_gets_newer_urls(
    s3: S3Settings, bucket: S3Objects
) -> None:
    """The worker's end of it; `tests/contract/workers/test_workers.py` renders so on Ray."""
    assignment = assigned(bucket)
    objects, wallet = holding(s3, signed(bucket, assignment, lifetime_s=1))
    key = result_key(assignment.job_id, assignment.claim)
    over, words = threading.Event(), list[str]()

    def written() -> bool:
        try:
            objects.put(key, b"{}", "application/json")
        except ObjectsRefused as error:
            words.append(str(error))
            return False
        return True

    while written():
        over.wait(0.1)
    newer = signed(bucket, assignment)
    wallet.take(newer.token, newer.reads, newer.writes)
    assert written()
    wallet.drop(newer.token)
    assert not written()
    assert not any("X-Amz" in each for each in words), "a URL in a log is as good as a key"


def test_what_arrives_is_read_back_like_any_upload(s3: S3Settings, bucket: S3Objects, s3_server: S3Server) -> None:
    assignment = signed(bucket, assigned(bucket))
    objects, _ = holding(s3, assignment)
    key = result_key(assignment.job_id, assignment.claim)
    stream = objects.stream

    def harmed(key: str) -> object:
        s3_server.file(s3, key).write_bytes(b"damaged")
        return stream(key)

    objects.stream = harmed  # type: ignore[method-assign, assignment]
    with pytest.raises(IntegrityError):
        objects.put(key, b"{}", "application/json")


def test_an_s3_that_is_away_is_one_that_does_not_answer(own_s3_server: S3Server) -> None:
    s3 = own_s3_server.new_bucket(worker_access="presigned", max_attempts=2, connect_timeout_s=1)
    bucket = S3Objects(s3)
    assignment = signed(bucket, assigned(bucket))
    objects, _ = holding(s3, assignment)
    own_s3_server.kill()
    with pytest.raises(ObjectsUnavailable) as failed:
        objects.get("inputs/picture")
    assert not isinstance(failed.value, ObjectsRefused)
    own_s3_server.start()
    assert objects.get("inputs/picture") == b"a picture"


def test_the_doctor_comes_to_the_bucket_as_workers_do_and_says_what_they_have(
    s3: S3Settings, bucket: S3Objects
) -> None:
    assert "by signed URLs, as workers do" in doctor._bucket(s3)
    assert "workers have these keys" in doctor._bucket(s3.model_copy(update={"worker_access": "shared"}))
    assert not list(bucket.list_keys("doctor/"))
