"""Schemas from a Confluent-compatible registry, through confluent-kafka's own client."""

import contextlib
import json
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from stream_scorer.errors import RegistryUnavailableError, SchemaError, SettingsError
from stream_scorer.settings import Registry

# Subject, version, schema, a subject's own rule.
_UNKNOWN_CODES: Final = {40401, 40402, 40403, 40408}
_REFUSED_STATUS: Final = {409, 422}
_NEGATIVES_MAX: Final = 10_000
_REFERENCES_MAX: Final = 64


class HttpRegistry:
    """A registry over HTTP(S): answers are kept, and an id is asked for once at a time.

    A known id is kept for ever, an unknown one for ``negative_cache_seconds``; an outage is not
    kept. While one thread asks for an id, others that want it wait for its answer.

    Args:
        registry: URL, credentials, CA file, time limit.
        clock: Seconds; only differences count.

    Raises:
        SettingsError: The URL or CA file cannot be used.
    """

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = registry.url
        self._negative_seconds = registry.negative_cache_seconds
        self._clock = clock
        # A pause of ours follows a failure: the client's own retries would only delay it.
        options: dict[str, Any] = {
            "url": registry.url, "timeout": registry.timeout_seconds, "max.retries": 0
        }  # fmt: skip
        if registry.user:
            password = registry.password.get_secret_value() if registry.password else ""
            options["basic.auth.user.info"] = f"{registry.user}:{password}"
        if registry.ca_file is not None:
            options["ssl.ca.location"] = str(registry.ca_file)
        try:
            self._client = SchemaRegistryClient(options)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"setting registry.ca_file: {registry.ca_file}: {error}", "name a PEM file"
            ) from error
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"setting registry.url: {error}", "name a URL such as https://registry:8081"
            ) from error
        # Whoever holds a source of schemas need not know that this one has connections.
        self._close = weakref.finalize(self, self._client.close)
        self._lock = threading.Lock()
        self._answers: dict[int, Future[str]] = {}
        self._unknown: dict[int, tuple[float, SchemaError]] = {}

    def writer_schema(self, schema_id: int) -> str:
        """Return the schema's JSON; see :class:`~stream_scorer.codec.schemas.SchemaSource`."""
        with self._lock:
            answer = self._answers.get(schema_id)
            if answer is None:
                self._raise_if_unknown(schema_id)
                asked = self._answers[schema_id] = Future()
        if answer is not None:
            return answer.result()
        try:
            schema = self._fetch(schema_id)
        except BaseException as error:
            with self._lock:
                del self._answers[schema_id]
                if isinstance(error, SchemaError):
                    self._remember_unknown(schema_id, error)
            asked.set_exception(error)
            raise
        asked.set_result(schema)
        return schema

    def id_for(self, subject: str, schema: str) -> int:
        """Return the schema's id, registering it if the subject does not have it yet."""
        written = Schema(schema, "AVRO")
        with contextlib.suppress(_NotThereError):
            found = self._ask(f"subject {subject}", self._client.lookup_schema, subject, written)
            return int(found.schema_id)
        try:
            return int(
                self._ask(f"subject {subject}", self._client.register_schema, subject, written)
            )
        except _NotThereError as error:
            raise SchemaError(f"subject {subject}: {error.what}", "register it by hand") from None

    def close(self) -> None:
        """Close the connections; without it they close when nobody holds this object."""
        self._close()

    def history(self, subject: str) -> tuple[str, list[tuple[int, str]]]:
        """Return a subject's compatibility rule and its versions, oldest first.

        Raises:
            SchemaError: The registry has no such subject, or a version that is not Avro.
            RegistryUnavailableError: The registry cannot be reached.
        """
        what = f"subject {subject}"
        try:
            numbers = self._ask(what, self._client.get_versions, subject)
            found = [self._ask(what, self._client.get_version, subject, n) for n in numbers]
        except _NotThereError as error:
            raise SchemaError(f"{what}: {error.what}", "name a known subject") from None
        try:
            rule = self._ask(what, self._client.get_compatibility, subject)
        except _NotThereError:
            rule = self._ask(what, self._client.get_compatibility)
        return str(rule), [(v.version, self._joined(what, v.schema)) for v in found]

    def _raise_if_unknown(self, schema_id: int) -> None:
        until, error = self._unknown.get(schema_id, (0.0, None))
        if error is None:
            return
        if self._clock() < until:
            raise SchemaError(error.what, error.mend)
        del self._unknown[schema_id]

    def _remember_unknown(self, schema_id: int, error: SchemaError) -> None:
        # Corrupt headers can name any id: what is remembered is bounded, the oldest leave.
        while len(self._unknown) >= _NEGATIVES_MAX:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[schema_id] = (self._clock() + self._negative_seconds, error)

    def _fetch(self, schema_id: int) -> str:
        what = f"schema id {schema_id}"
        try:
            schema = self._ask(what, self._client.get_schema, schema_id)
            return self._joined(what, schema)
        except _NotThereError as error:
            raise SchemaError(f"{what}: {error.what}", "register the schema") from None

    def _joined(self, what: str, schema: Schema) -> str:
        """Return the schema's JSON with the definitions that it references written into it.

        One that cannot be joined is returned as it is: who parses it refuses its records alone.
        """
        if schema.schema_type != "AVRO":
            raise SchemaError(f"{what}: is {schema.schema_type}, not Avro", "write Avro")
        if not schema.references:
            return str(schema.schema_str)
        definitions: dict[str, Any] = {}
        try:
            self._collect(what, schema, definitions)
            return json.dumps(_inline(json.loads(schema.schema_str), definitions, ""))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return str(schema.schema_str)

    def _collect(self, what: str, schema: Schema, definitions: dict[str, Any]) -> None:
        for reference in schema.references or ():
            if reference.name in definitions:
                continue
            if len(definitions) == _REFERENCES_MAX:
                raise ValueError(f"{what}: more than {_REFERENCES_MAX} references")
            found = self._ask(
                what, self._client.get_version, reference.subject, reference.version
            ).schema
            definitions[reference.name] = json.loads(found.schema_str)
            self._collect(what, found, definitions)

    def _ask(self, what: str, call: Callable[..., Any], *arguments: object) -> Any:
        """Call the registry; say who is at fault when it fails."""
        try:
            return call(*arguments)
        except SchemaRegistryError as error:
            if error.error_code in _UNKNOWN_CODES:
                raise _NotThereError(f"not in the registry {self._url}") from None
            if error.http_status_code in _REFUSED_STATUS:
                raise SchemaError(
                    f"{what}: refused by the registry: {error.error_message}", "mend the schema"
                ) from error
            if error.http_status_code in {401, 403}:
                raise RegistryUnavailableError(
                    f"registry {self._url}: refuses our credentials "
                    f"(HTTP {error.http_status_code})",
                    "set registry.user and registry.password",
                ) from error
            raise RegistryUnavailableError(
                f"registry {self._url}: HTTP {error.http_status_code}",
                "check registry.url and the registry",
            ) from error
        except Exception as error:  # its HTTP library's, which changes with the version
            raise RegistryUnavailableError(
                f"registry {self._url}: {str(error) or type(error).__name__}",
                "check registry.url and the registry",
            ) from error


class _NotThereError(Exception):
    """The registry answered that it has no such thing."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def _inline(schema: Any, definitions: dict[str, Any], namespace: str) -> Any:
    """Put each referenced definition where its name is used first; later uses keep the name."""
    if isinstance(schema, str):
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        for name in (full, schema):
            if name in definitions:
                found = definitions.pop(name)
                return _inline(found, definitions, name.rpartition(".")[0])
        return schema
    if isinstance(schema, list):
        return [_inline(branch, definitions, namespace) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    inner = schema.get("namespace", namespace)
    if "." in str(schema.get("name", "")):
        inner = str(schema["name"]).rpartition(".")[0]
    copy = dict(schema)
    for key in ("type", "items", "values"):
        if key in copy:
            copy[key] = _inline(copy[key], definitions, inner)
    if "fields" in copy:
        copy["fields"] = [
            {**field, "type": _inline(field["type"], definitions, inner)}
            for field in copy["fields"]
        ]
    return copy
