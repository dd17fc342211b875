"""A real S3 API on the loopback that can be made slow, fail, or send half a file."""

import logging
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
import pytest
import s3fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "ours"


@dataclass(slots=True)
class Weather:
    """How the store answers from now on.

    Attributes:
        delay: Seconds before each answer.
        open: Cleared, a request is taken and not answered until it is set again.
        failing: So many of the next requests are answered with 500; -1 is all.
        halved: Whether an object ends in its middle.
        requests: Methods and paths, in order.
    """

    delay: float = 0.0
    open: threading.Event = field(default_factory=threading.Event)
    failing: int = 0
    halved: bool = False
    requests: list[str] = field(default_factory=list)


class _Conditions:
    """Puts conditions between the client and the store."""

    def __init__(self, application: Any, weather: Weather) -> None:
        self._application = application
        self._weather = weather

    def __call__(self, environ: Any, start: Any) -> Iterable[bytes]:
        weather = self._weather
        weather.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        time.sleep(weather.delay)
        weather.open.wait()
        if weather.failing:
            weather.failing -= weather.failing > 0
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        body = self._application(environ, start)
        of_object = environ["PATH_INFO"].count("/") > 1
        if not (weather.halved and of_object and environ["REQUEST_METHOD"] == "GET"):
            return list(body)
        whole = b"".join(body)
        # The header has the complete length: the connection ends before it.
        return [whole[: len(whole) // 2]]


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    """Serve an empty bucket ``s3://ours``; credentials and address are in the environment."""
    weather = Weather()
    weather.open.set()
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, _Conditions(application, weather), threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": uuid4().hex,
        "AWS_SECRET_ACCESS_KEY": uuid4().hex,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": address,
        "AWS_MAX_ATTEMPTS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    # The objects belong to the process, not to the server.
    reset = urllib.request.Request(f"{address}/moto-api/reset", method="POST")  # noqa: S310 loopback
    urllib.request.urlopen(reset, timeout=20).close()  # noqa: S310 the same
    client = boto3.client("s3")
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    client.close()
    try:
        yield weather
    finally:
        weather.open.set()
        s3fs.S3FileSystem.clear_instance_cache()
        server.shutdown()
        server.server_close()
        serving.join()
