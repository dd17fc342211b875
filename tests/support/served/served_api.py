"""``stream-scorer serve`` as its operator runs it, with API keys, and requests to it by HTTP."""

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_scorer.devkafka.child import as_environment
from stream_scorer.settings import Kafka
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.serving.access import make_key

FAST = {"rate_per_second": 100_000.0, "burst": 100_000}
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer by HTTP.

    Attributes:
        status: HTTP status.
        headers: By lower-case name.
        body: Complete.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object of the body."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def kind(self) -> str:
        """The end of a problem's type."""
        return str(self.document["type"]).rpartition(":")[2]


class ServedApi(ScorerProcess):
    """The command, with the clients ``shop`` and ``other`` (score), ``auditor`` (read).

    Args:
        kafka: Its settings.
        folder: For its clients file and its output.
        arguments: After the command.
        serving: Settings of the group ``serving``, in addition to free ports and the clients.
        variables: Further environment variables.
    """

    def __init__(
        self,
        kafka: Kafka,
        folder: Path,
        *arguments: str,
        serving: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        scopes = {"shop": "score", "other": "score", "auditor": "read"}
        self.keys = {
            name: make_key(folder, name, scopes=[scope], **FAST) for name, scope in scopes.items()
        }
        # gRPC serves only models.
        self._last = "gRPC at " if "--model" in arguments else "serving at "
        own = {
            **({"grpc_port": 0} if "--model" in arguments else {}),
            "access": {"clients_file": folder / "clients.json"},
            **(serving or {}),
        }
        told = as_environment({"serving": own}) | dict(variables or {})
        super().__init__(
            kafka, folder / "log", *arguments, "--port", "0", command="serve", variables=told
        )

    def wait_served(self) -> None:
        """Wait until clients can connect."""
        wait_until(lambda: self._last in self.said or not self.alive, lambda: self.said)
        assert self.alive, self.said

    def address(self, what: str = "serving at") -> str:
        """Return host and port of HTTP, or of gRPC (``serving gRPC at``)."""
        found = re.search(rf"{what} (?:https?://)?(\S+)$", self.said, re.MULTILINE)
        assert found is not None, self.said
        return found[1]

    def authorization(self, client: str = "shop") -> dict[str, str]:
        """Return the header of a client."""
        return {"authorization": f"Bearer {self.keys[client]}"}

    def call(
        self, method: str, path: str, sent: Any = None, client: str = "shop", **headers: str
    ) -> ApiAnswer:
        """Return the answer to a request.

        Args:
            method: In upper case.
            path: With its query.
            sent: Sent as JSON; None: no body.
            client: Whose key is sent; empty: none.
            headers: Further ones; an underscore in a name is a hyphen.
        """
        body = None if sent is None else json.dumps(sent)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= self.authorization(client) if client else {}
        if body is not None:
            named.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection(self.address(), timeout=SECONDS)
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return ApiAnswer(answer.status, fields, answer.read())
        finally:
            connection.close()
