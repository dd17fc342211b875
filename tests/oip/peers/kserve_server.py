"""Serve a scikit-learn model with KServe's SDK; runs with the peer's Python.

``python kserve_server.py FILE NAME --http_port P --grpc_port P``. ``predict`` is that of KServe's
own scikit-learn runtime, which has no package: the SDK decodes the request and encodes the answer.
"""

import sys
from typing import Any

import grpc.aio
import joblib
import uvicorn
from kserve import Model, ModelServer  # type: ignore[import-not-found] # in the peer's environment
from kserve.utils.utils import (  # type: ignore[import-not-found] # the same
    get_predict_input,
    get_predict_response,
)

LOOPBACK = "127.0.0.1"


class ScikitLearnModel(Model):
    """A classifier that answers with its probabilities."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        self._model = joblib.load(file)
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """Describe the input."""
        return [{"name": "features", "datatype": "FP64", "shape": [-1, 3]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Describe the output, by the name that the SDK gives it."""
        return [{"name": "output-0", "datatype": "FP64", "shape": [-1, 2]}]

    def predict(self, payload: Any, *_: Any, **__: Any) -> Any:
        """Return the probabilities of a request's rows."""
        result = self._model.predict_proba(get_predict_input(payload))
        return get_predict_response(payload, result, self.name)


def listen_on_loopback() -> None:
    """Bind to loopback: the SDK binds to every address and has no setting for it."""
    http, rpc = uvicorn.Config.__init__, grpc.aio.Server.add_insecure_port

    def http_config(self: Any, *arguments: Any, **fields: Any) -> None:
        http(self, *arguments, **{**fields, "host": LOOPBACK})

    def rpc_port(self: Any, address: str) -> int:
        return int(rpc(self, f"{LOOPBACK}:{address.rpartition(':')[2]}"))

    uvicorn.Config.__init__ = http_config  # type: ignore[method-assign] # there is no setting
    grpc.aio.Server.add_insecure_port = rpc_port


if __name__ == "__main__":
    listen_on_loopback()
    ModelServer().start([ScikitLearnModel(sys.argv[2], sys.argv[1])])
