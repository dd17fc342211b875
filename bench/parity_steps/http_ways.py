"""The parity bench's requests: transactions to ``/v1``, and the answers' features to ``/v2``."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench.parity_steps.outcomes import KEPT, Outcomes
from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import Float64

_HOST = "127.0.0.1"
_SECONDS = 60.0
_AT_ONCE = 100
_CLIENTS = 4
_RETRY_SECONDS = 0.2
_DECISIONS = "/v1/decisions"
_BUSY, _OK, _MULTI, _PENDING = 503, 200, 207, 202
_ROWS = 1_000
_ALONE = 500
"""Rows that are also sent as requests of one row."""


class ApiConnection:
    """A kept connection to the API.

    Args:
        port: Port of the API on the loopback.
        key: The client's API key.
    """

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection(_HOST, port, timeout=_SECONDS)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def ask(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Send a request; return status and document of its answer."""
        body = None if document is None else json.dumps(document)
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class DecisionAnswers:
    """Asks ``/v1`` for the decision of each of n transactions, in batches, by several clients.

    The transactions of a customer are asked for by one client, in their order.

    Args:
        port: Port of the API.
        key: The API key.
        bodies: n transactions.
        width: Features per decision.

    Attributes:
        outcomes: The outcome of each transaction by its answer.
        places: Source partition and offset of each transaction by its answer.
        statuses: Answers by status.
    """

    def __init__(
        self, port: int, key: str, bodies: Sequence[Mapping[str, Any]], width: int
    ) -> None:
        self.outcomes = Outcomes.none(len(bodies), width)
        self.places = np.full((len(bodies), 2), -1)
        self.statuses: Counter[int] = Counter()
        self._port = port
        self._key = key
        self._bodies = bodies
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Ask for all.

        Raises:
            SystemExit: An answer is neither a decision nor provisional.
        """
        turns: list[list[int]] = [[] for _ in range(_CLIENTS)]
        for row, body in enumerate(self._bodies):
            turns[partition_of(body["customer_id"].encode(), _CLIENTS)].append(row)
        with ThreadPoolExecutor(_CLIENTS) as pool:
            for done in [pool.submit(self._ask, rows) for rows in turns]:
                done.result()

    def _ask(self, rows: Sequence[int]) -> None:
        connection = ApiConnection(self._port, self._key)
        for first in range(0, len(rows), _AT_ONCE):
            self._ask_batch(connection, rows[first : first + _AT_ONCE])
        connection.close()

    def _ask_batch(self, connection: ApiConnection, rows: Sequence[int]) -> None:
        document = {"transactions": [self._bodies[row] for row in rows]}
        status, answer = connection.ask("POST", _DECISIONS, document)
        while status == _BUSY:
            self._count(status)
            time.sleep(_RETRY_SECONDS)
            status, answer = connection.ask("POST", _DECISIONS, document)
        if status not in {_OK, _MULTI}:
            raise SystemExit(f"/v1 answered with {status}: {answer}")
        for row, each in zip(rows, answer["answers"], strict=True):
            found = each.get("decision") or self._fetched(connection, each)
            self._count(each["status"])
            self._take(row, found)

    def _fetched(self, connection: ApiConnection, answer: Mapping[str, Any]) -> Any:
        """Return the decision of an answer that is provisional."""
        if answer["status"] != _PENDING:
            raise SystemExit(f"/v1 answered with {answer}")
        until = time.monotonic() + _SECONDS
        status, found = _PENDING, None
        while status == _PENDING:
            if time.monotonic() > until:
                raise SystemExit(f"no decision in {_SECONDS:.0f} s: {answer}")
            time.sleep(_RETRY_SECONDS)
            status, found = connection.ask("GET", answer["pending"]["location"])
        if status != _OK:
            raise SystemExit(f"{answer['pending']['location']} answered with {status}: {found}")
        return found

    def _count(self, status: int) -> None:
        with self._lock:
            self.statuses[status] += 1

    def _take(self, row: int, answer: Mapping[str, Any]) -> None:
        found, body = self.outcomes, self._bodies[row]
        if (answer["customer_id"], answer["transaction_id"]) != (
            body["customer_id"], body["transaction_id"],
        ):  # fmt: skip
            raise SystemExit(f"/v1 answered {body} with another's decision: {answer}")
        found.count[row] += 1
        found.features[row] = [np.nan if each is None else each for each in answer["features"]]
        found.score[row] = answer["score"]
        found.decision[row] = Outcome[answer["decision"]]
        found.flags[row] = sum(Flag[name.upper()] for name in answer["flags"]) & KEPT
        self.places[row] = answer["source_partition"], answer["source_offset"]


def scores_of(port: int, key: str, model: str, features: Float64) -> tuple[Float64, Float64]:
    """Return the scores of rows by ``/v2``: in requests of many rows, and of the first ones alone.

    Args:
        port: Port of the API.
        key: The API key.
        model: NAME:VERSION.
        features: float64[n, m], as the answers of ``/v1`` have them.

    Raises:
        SystemExit: A request is refused.
    """
    connection = ApiConnection(port, key)
    name, _, version = model.partition(":")
    path = f"/v2/models/{name}/versions/{version}/infer"

    def scores(rows: Float64) -> list[float]:
        data = [None if number != number else number for number in rows.ravel().tolist()]  # noqa: PLR0124 NaN
        tensor = {"name": "features", "shape": list(rows.shape), "datatype": "FP64", "data": data}
        status, answer = connection.ask("POST", path, {"inputs": [tensor]})
        if status != _OK:
            raise SystemExit(f"/v2 answered with {status}: {answer}")
        (found,) = (each for each in answer["outputs"] if each["name"] == "score")
        return list(found["data"])

    many = [scores(features[row : row + _ROWS]) for row in range(0, len(features), _ROWS)]
    alone = [scores(features[row : row + 1]) for row in range(min(_ALONE, len(features)))]
    connection.close()
    return np.concatenate(many), np.concatenate(alone)
