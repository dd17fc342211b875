"""What ``/v2`` costs in Python: parse, score and encode one row, without a server.

``python -m bench.http_steps.inference_cost`` prints microseconds per request for ``fraud:1.1.1``,
the fastest of several rounds, on the rows of its golden file with the lowest and the highest score.
Then a model that takes 5 ms for each row is asked for 1.3 times what it can do, on a fixed
schedule, with two requests at the same time at most. Accepted requests must keep their latency,
refused ones must be told quickly.
"""

import asyncio
import json
import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness.script import Number, Script, missed, table
from stream_scorer.core.decision.decide import Model
from stream_scorer.serving.inference.grpc_servicer import _GrpcBinding
from stream_scorer.serving.inference.loading import load_served
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from stream_scorer.settings import Settings
from tests.support.serving.inference_calls import (
    NAMES,
    RestCalls,
    features_input,
    model_with,
    serving,
)
from tests.support.serving.inference_messages import binary_request, grpc_request

Float64 = NDArray[np.float64]
PATH = "/v2/models/fraud/infer"
MOST_MICROSECONDS = 60.0
ROW_SECONDS, OVERLOAD = 0.005, 1.3


class SlowPredictor:
    """Takes the same time for each row, without the interpreter's lock."""

    feature_count = len(NAMES)

    def scores(self, features: Float64) -> Float64:
        """Return zeros, late."""
        time.sleep(ROW_SECONDS * len(features))
        return np.zeros(len(features))

    def raw(self, features: Float64) -> Float64:
        """Return zeros."""
        return np.zeros(len(features))

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        """Return zeros."""
        return np.zeros(features.shape), 0.0


def fastest(rest: RestCalls, call: Any, rounds: int, calls: int = 200) -> float:
    """Return microseconds per call, awaited one by one in the service's loop."""

    async def one_round() -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            await call()
        return (time.perf_counter() - begin) / calls

    return round(min(rest.runner.run(one_round()) for _ in range(rounds)) * 1e6, 1)


def costs(model: Model, rounds: int) -> dict[str, float]:
    """Return microseconds per request by its form."""
    names = model.features.names
    found = {}
    with serving([model]) as rest:
        service = rest.service
        some = np.random.default_rng(1).random((1000, len(names))) * 100
        scores = model.predictor.scores(some)
        for title, at in (("approved", scores.argmin()), ("blocked", scores.argmax())):
            row = some[[int(at)]]
            as_json = json.dumps({"inputs": [features_input(row)]}).encode()
            columns = {name: row[:, column] for column, name in enumerate(names)}
            by_feature = json.dumps({
                "inputs": [
                    {"name": n, "shape": [1], "datatype": "FP64", "data": c.tolist()}
                    for n, c in columns.items()
                ]
            }).encode()  # fmt: skip
            body, length = binary_request(
                {"features": row}, {"features": "FP64"}, parameters={"binary_data_output": True}
            )
            raw = grpc_request(row, raw=True)
            asked = {
                "JSON": rest.request("POST", PATH, as_json),
                "JSON by feature": rest.request("POST", PATH, by_feature),
                "binary": rest.request("POST", PATH, body, inference_header_content_length=length),
            }
            for name, (handler, request) in asked.items():
                found[f"{name}, {title}"] = fastest(rest, partial(handler, request), rounds)
            found[f"gRPC raw, {title}"] = fastest(rest, partial(_wire, service, raw), rounds)
    return found


async def _wire(service: InferenceService, request: messages.ModelInferRequest) -> bytes:
    """Answer a request from its bytes to the answer's, as a server of grpc does."""
    parsed = messages.ModelInferRequest.FromString(request.SerializeToString())
    answer = await _GrpcBinding(service).infer(parsed, None)
    data: bytes = answer.SerializeToString()
    return data


def overload(count: int) -> dict[str, float]:
    """Return the latencies of a slow model, in milliseconds, alone and overloaded."""
    body = json.dumps({"inputs": [features_input(np.zeros((1, len(NAMES))))]}).encode()

    async def timed(rest: RestCalls, scheduled: float) -> tuple[int, float]:
        answer = await rest.call("POST", PATH, body)
        return answer.status, (time.perf_counter() - scheduled) * 1e3

    async def offered(rest: RestCalls, spacing: float) -> NDArray[np.float64]:
        begin = time.perf_counter()
        asked = []
        for number in range(count):
            scheduled = begin + number * spacing
            await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
            asked.append(asyncio.ensure_future(timed(rest, scheduled)))
        return np.array(await asyncio.gather(*asked))

    with serving([model_with(SlowPredictor())], concurrent=2) as rest:
        alone = rest.runner.run(offered(rest, 3 * ROW_SECONDS))[:, 1]
        begin = time.perf_counter()
        over = rest.runner.run(offered(rest, ROW_SECONDS / OVERLOAD))
        seconds = time.perf_counter() - begin
    accepted = over[over[:, 0] == 200, 1]
    refused = over[over[:, 0] == 503, 1]
    return {
        "unloaded_p99_ms": round(float(np.quantile(alone, 0.99)), 2),
        "accepted_p99_ms": round(float(np.quantile(accepted, 0.99)), 2),
        "refused_p99_ms": round(float(np.quantile(refused, 0.99)), 2),
        "accepted_of_capacity": round(len(accepted) * ROW_SECONDS / seconds, 3),
    }


def main() -> int:
    """Measure, print, and judge."""
    script = Script(
        __doc__, "fewer rounds",
        rounds=Number(50, 10, "rounds of 200 requests"),
        requests=Number(2000, 300, "requests to the slow model"),
    )  # fmt: skip
    settings = Settings()
    (model,) = load_served(settings, ("fraud:1.1.1",))
    found = costs(model, script.options.rounds)
    loads = overload(script.options.requests)
    ratio = round(loads["accepted_p99_ms"] / loads["unloaded_p99_ms"], 2)
    failed = missed(
        *((f"{name}: {{}} µs", value, "<=", MOST_MICROSECONDS) for name, value in found.items()),
        ("accepted p99 {} times the unloaded one", ratio, "<=", 2.0),
        ("refused p99 {} ms", loads["refused_p99_ms"], "<=", 20.0),
        ("accepted {} of the capacity", loads["accepted_of_capacity"], ">=", 0.9),
    )
    return script.conclude(
        {"microseconds": found, "overload": {**loads, "accepted_p99_ratio": ratio}}, failed,
        table("One row", "request", "µs", rows=found.items()),
        table("1.3 times the capacity", "what", "value", rows=loads.items()),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
