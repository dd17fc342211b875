"""Models for the inference service, and requests to it without a server."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.ports import Predictor
from stream_scorer.serving.inference.rest_routes import routes
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.settings.inference import Inference
from stream_scorer.serving.web.messages import Caller, Handler, Request, Response
from stream_scorer.telemetry import Event
from tests.support.models import random_models

Float64 = NDArray[np.float64]

CALLER = Caller("tests", frozenset({"score"}), "open")
NAMES = tuple(f"F{number}" for number in range(7))


def model_with(
    predictor: Predictor, name: str = "fraud", version: str = "1.2.3", width: int = len(NAMES)
) -> Model:
    """Return a model of some passthrough features that scores with a predictor."""
    declared: list[dict[str, Any]] = [
        {"name": f"F{number}", "kind": "passthrough", "field": "amount"} for number in range(width)
    ]
    return Model(
        name=name,
        version=version,
        predictor=predictor,
        features=compile_features(declared, declared_plan(declared)),
        thresholds=Thresholds(0.3, 0.7),
        on_model_error=Outcome.REVIEW,
    )


def random_model(seed: int, version: str = "1.2.3") -> Model:
    """Return a model with random parts."""
    return model_with(ScoringPredictor(random_models.model(seed, len(NAMES))), version=version)


class RestCalls:
    """Calls the routes of a service as a server does, without one.

    Args:
        service: The service, started.
        runner: Its event loop.
        events: What the service has reported.
    """

    def __init__(
        self, service: InferenceService, runner: asyncio.Runner, events: list[Event]
    ) -> None:
        self.service = service
        self.events = events
        self.runner = runner
        self._routes = routes(service)

    def __call__(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Return the answer; underscores in names of headers are hyphens."""
        return self.runner.run(self.call(method, path, body, **headers))

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Return the answer, inside the service's loop."""
        handler, request = self.request(method, path, body, **headers)
        return await handler(request)

    def request(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[Handler, Request]:
        """Return what answers a request, and the request."""
        for route in self._routes:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern)
            found = re.fullmatch(pattern, path)
            if found and route.method == method:
                request = Request(
                    method=method, path=path, query="", body=body, caller=CALLER,
                    headers={name.replace("_", "-"): value for name, value in headers.items()},
                    parameters={name: unquote(each) for name, each in found.groupdict().items()},
                    request_id="r", traceparent="", tracestate="", arrived=0.0,
                )  # fmt: skip
                return route.handler, request
        raise AssertionError(f"no route for {method} {path}")

    def infer(self, request: dict[str, Any], model: str = "fraud") -> Response:
        """Return the answer to a JSON inference request."""
        return self("POST", f"/v2/models/{model}/infer", json.dumps(request).encode())


@contextmanager
def serving(models: Sequence[Model], **settings: Any) -> Iterator[RestCalls]:
    """Run a service in a loop of its own."""
    with asyncio.Runner() as runner:
        events: list[Event] = []
        service = InferenceService(models, Inference(**settings), events.append)
        runner.run(service.__aenter__())
        yield RestCalls(service, runner, events)
        runner.run(service.__aexit__(None, None, None))


def features_input(rows: Float64) -> dict[str, Any]:
    """Return the input ``features`` of rows; a missing value is ``null``."""
    data = [None if np.isnan(each) else each for each in rows.ravel().tolist()]
    return {"name": "features", "shape": list(rows.shape), "datatype": "FP64", "data": data}


def output(response: Response, name: str) -> Any:
    """Return the data of an output of a JSON answer."""
    assert response.status == 200, response.body
    return next(o["data"] for o in json.loads(response.body)["outputs"] if o["name"] == name)


def refused(response: Response) -> str:
    """Return the message of a 400 in the protocol's form."""
    assert response.status == 400, response
    error = json.loads(response.body)
    assert list(error) == ["error"]
    message: str = error["error"]
    return message
