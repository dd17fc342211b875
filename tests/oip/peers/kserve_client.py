"""Ask a server with the clients of KServe's SDK; runs with the peer's Python.

Standard input has a JSON object: ``http`` and ``grpc`` (``HOST:PORT``), ``model``, ``key``, and the
``rows`` of its one input. The answer is a JSON object: the scores of each client, as it gave them.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import (  # type: ignore[import-not-found] # in the peer's environment
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)


def _request(asked: dict[str, Any], *, binary: bool) -> Any:
    rows = np.array(asked["rows"], np.float64)
    tensor = InferInput("features", list(rows.shape), "FP64")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(asked["model"], [tensor], request_id="42")


def _scores(answer: Any) -> list[float]:
    (score,) = [output for output in answer.outputs if output.name == "score"]
    values: list[float] = np.asarray(score.as_numpy()).tolist()
    return values


async def _ask(asked: dict[str, Any]) -> dict[str, Any]:
    model, headers = asked["model"], {"authorization": f"Bearer {asked['key']}"}
    url = f"http://{asked['http']}"
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    told: dict[str, Any] = {
        "rest_ready": [
            await rest.is_server_live(url),
            await rest.is_server_ready(url),
            await rest.is_model_ready(url, model, headers),
        ]
    }
    for name, binary in (("rest_binary", True), ("rest_json", False)):
        sent = _request(asked, binary=binary)
        told[name] = _scores(await rest.infer(url, sent, model, headers=dict(headers)))
    await rest.close()
    metadata = tuple(headers.items())
    async with InferenceGRPCClient(asked["grpc"]) as rpc:
        told["grpc_ready"] = [
            await rpc.is_server_live(),
            await rpc.is_server_ready(),
            await rpc.is_model_ready(model, headers=metadata),
        ]
        told["grpc"] = _scores(await rpc.infer(_request(asked, binary=True), headers=metadata))
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_ask(json.load(sys.stdin)))) + "\n")
