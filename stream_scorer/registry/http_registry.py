"""Schemas from a Confluent-compatible registry, through confluent-kafka's client."""

import contextlib
import json
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from stream_scorer.errors import RegistryUnavailableError, SchemaError, SettingsError
from stream_scorer.readings.scraped import timed
from stream_scorer.registry.answer_limits import AnswerTooLargeError, bound_answers
from stream_scorer.registry.lookup_budget import WAITED_FOR, WAITS, LookupBudget
from stream_scorer.registry.references import inline
from stream_scorer.registry.schema_cache import RecentSchemas
from stream_scorer.registry.unknown_ids import FailingIds, UnknownIds
from stream_scorer.settings import Registry

# Subject, version, schema, a subject's own rule.
_UNKNOWN_CODES: Final = {40401, 40402, 40403, 40408}
_REFUSED_STATUS: Final = {409, 422}
_OUTAGE_STATUS: Final = {401, 408, 429, 502, 503, 504}
"""The registry, or a proxy in front of it, answers for no id."""
_CREDENTIALS_STATUS: Final = {401, 403}
"""403 may concern one schema: registries can restrict who reads a subject."""
_AT_ONCE: Final = 8
"""Maximum number of simultaneous look-ups."""
_REFERENCES_MAX: Final = 64
_REFERENCES_BYTES_MOST: Final = 2 * 1024 * 1024
"""Maximum total size of the texts that a schema references: parsed, a text takes up to 20 times as
much memory."""
_TEXT_BYTES_MOST: Final = 64 * 1024 * 1024
_QUOTED_MOST: Final = 300
"""Characters of a text of the registry's that an error quotes; errors of unknown ids are kept."""


class HttpRegistry:
    """A registry over HTTP(S): caches answers, and queries each id only once at a time.

    Cached are the most recently used schemas, up to 64 MiB of text, and an unknown id for
    ``negative_cache_seconds``; an outage is not cached. While one thread queries an id, others that
    need it wait for its answer.

    If the registry repeatedly answers one id with an error but still answers other queries, the id
    counts as unknown. It does not count as an outage, which could stop a partition for ever.

    Args:
        registry: URL, credentials, CA file, limits.
        clock: Seconds; only differences count.
        sleep: Waits for seconds.

    Raises:
        SettingsError: The URL or CA file cannot be used.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = registry.url
        self._sleep = sleep
        self._budget = LookupBudget(registry.lookups_per_second, registry.lookups_burst, clock)
        self._clock = clock
        # We pause after a failure: the client's own retries would only delay that.
        options: dict[str, Any] = {
            "url": registry.url, "timeout": registry.timeout_seconds, "max.retries": 0,
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
        self._query = bound_answers(self._client, registry.timeout_seconds)
        # The owner of a source of schemas need not know that this one has connections.
        self._close = weakref.finalize(self, self._client.close)
        self._lock = threading.Lock()
        self._asked: dict[int, Future[str]] = {}
        self._texts: RecentSchemas[str] = RecentSchemas(_TEXT_BYTES_MOST)
        self._unknown = UnknownIds(registry.negative_cache_seconds, clock)
        self._failing = FailingIds(self._answers_others, clock)
        self._answered: int | None = None

    def writer_schemas(self, ids: Sequence[int], *, budgeted: bool) -> dict[int, str | SchemaError]:
        """Look several ids up; see :func:`~stream_scorer.registry.sources.look_up`."""
        found: dict[int, str | SchemaError] = {}
        to_ask = []
        for schema_id in ids:
            settled = self._settled(schema_id)
            if settled is None:
                to_ask.append(schema_id)
            else:
                found[schema_id] = settled
        granted = self._budget.take(len(to_ask)) if budgeted and to_ask else len(to_ask)
        found |= {schema_id: _not_asked(schema_id) for schema_id in to_ask[granted:]}
        asked = to_ask[:granted]
        began = self._clock()
        try:
            answers = self._ask_for(asked)
        except RegistryUnavailableError:
            self._budget.give_back(granted if budgeted else 0)
            raise
        if budgeted and asked:
            unknown = [each for each in asked if isinstance(answers[each], SchemaError)]
            self._budget.give_back(granted - len(unknown))
            if unknown:
                self._budget.charge(self._clock() - began, len(unknown))
            lacking = [each for each in unknown if _may_come(answers[each])][:WAITED_FOR]
            if lacking and self._budget.may_wait():
                answers |= self._ask_again(lacking)
        return found | answers

    def _settled(self, schema_id: int) -> str | SchemaError | None:
        """Return the known answer for an id; None if a query is needed."""
        with self._lock:
            text = self._texts.find(schema_id)
            if text is not None:
                return text
            try:
                self._unknown.refuse(schema_id)
            except SchemaError as error:
                return error.as_value()
        return None

    def _ask_for(self, ids: Sequence[int]) -> dict[int, str | SchemaError]:
        """Query several ids, some at the same time."""
        if len(ids) <= 1:
            return {schema_id: self._answer(schema_id) for schema_id in ids}
        with ThreadPoolExecutor(min(_AT_ONCE, len(ids)), thread_name_prefix="registry") as pool:
            # In order, and only up to an outage: later ids would meet it, too.
            pending = [pool.submit(self._answer, schema_id) for schema_id in ids]
            try:
                return {
                    schema_id: each.result() for schema_id, each in zip(ids, pending, strict=True)
                }
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _answer(self, schema_id: int) -> str | SchemaError:
        try:
            return self.writer_schema(schema_id)
        except SchemaError as error:
            return error.as_value()

    def _ask_again(self, ids: Sequence[int]) -> dict[int, str | SchemaError]:
        """Query ids again that were unknown a moment ago, at most twice."""
        found: dict[int, str | SchemaError] = {}
        for seconds in WAITS:
            lacking = [each for each in ids if not isinstance(found.get(each), str)]
            lacking = lacking[: self._budget.take_again(len(lacking))]
            if not lacking:
                break
            self._sleep(seconds)
            with self._lock:
                for schema_id in lacking:
                    self._unknown.forget(schema_id)
            answers = self._ask_for(lacking)
            self._budget.give_back(sum(isinstance(each, str) for each in answers.values()))
            found |= answers
        return found

    def writer_schema(self, schema_id: int) -> str:
        """Return the schema's JSON; see :class:`~stream_scorer.registry.sources.SchemaSource`."""
        with self._lock:
            text = self._texts.find(schema_id)
            if text is not None:
                return text
            answer = self._asked.get(schema_id)
            if answer is None:
                self._unknown.refuse(schema_id)
                asked = self._asked[schema_id] = Future()
        if answer is not None:
            return answer.result()
        try:
            schema = self._fetch(schema_id)
        except BaseException as error:
            with self._lock:
                del self._asked[schema_id]
                if isinstance(error, SchemaError):
                    self._unknown.remember(schema_id, error)
            asked.set_exception(error)
            raise
        with self._lock:
            self._texts.keep(schema_id, schema, len(schema.encode(errors="replace")))
            del self._asked[schema_id]
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
        """Close the connections; otherwise they close when this object is no longer referenced."""
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

    def version(self, subject: str, version: int) -> tuple[int, str]:
        """Return the id and the JSON of a version of a subject.

        Raises:
            SchemaError: The registry has no such version, or it is not Avro.
            RegistryUnavailableError: The registry cannot be reached.
        """
        what = f"subject {subject}"
        try:
            found = self._ask(what, self._client.get_version, subject, version)
        except _NotThereError:
            raise SchemaError(
                f"{what}: has no version {version}", "register it, or correct the setting"
            ) from None
        return int(found.schema_id), self._joined(what, found.schema)

    def _fetch(self, schema_id: int) -> str:
        what = f"schema id {schema_id}"
        try:
            schema = self._ask(what, self._client.get_schema, schema_id)
            text = self._joined(what, schema)
        except _NotThereError as error:
            raise _MissingError(f"{what}: {error.what}", "register the schema") from None
        except _AnsweredError as error:
            if self._failing.alone(schema_id):
                raise SchemaError(
                    f"{what}: the registry answers for other schemas, not for this: {error.what}",
                    "look into the registry's log",
                ) from error
            raise
        finally:
            # The client would cache every answer for ever, also those that are refused here.
            self._client.clear_caches()
        self._failing.answered(schema_id)
        self._answered = schema_id
        return text

    def _answers_others(self) -> bool:
        """Whether the registry answers a query that does not concern the failing id.

        That is its compatibility rule, or the schema of the id that it answered last: some
        registries allow us to read only some schemas, and not the rule.
        """
        with contextlib.suppress(RegistryUnavailableError, _NotThereError):
            self._ask("compatibility", self._client.get_compatibility)
            return True
        known = self._answered
        if known is None:
            return False
        self._client.clear_caches()
        with contextlib.suppress(RegistryUnavailableError, _NotThereError):
            self._ask(f"schema id {known}", self._client.get_schema, known)
            return True
        return False

    def _joined(self, what: str, schema: Schema) -> str:
        """Return the schema's JSON with the definitions that it references inserted.

        If they cannot be inserted, the schema is unchanged: the decoder refuses only its records.
        """
        if schema.schema_type != "AVRO":
            raise SchemaError(f"{what}: is {_quoted(schema.schema_type)}, not Avro", "write Avro")
        if not schema.references:
            return str(schema.schema_str)
        definitions: dict[str, Any] = {}
        try:
            self._collect(what, schema, definitions, _REFERENCES_BYTES_MOST)
            return json.dumps(inline(json.loads(schema.schema_str), definitions, ""))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return str(schema.schema_str)

    def _collect(self, what: str, schema: Schema, definitions: dict[str, Any], left: int) -> int:
        """Add the referenced definitions, of at most ``left`` characters; return what is left."""
        for reference in schema.references or ():
            if reference.name in definitions:
                continue
            if len(definitions) == _REFERENCES_MAX:
                raise ValueError(f"{what}: more than {_REFERENCES_MAX} references")
            found = self._ask(
                what, self._client.get_version, reference.subject, reference.version
            ).schema
            left -= len(found.schema_str)
            if left < 0:
                raise ValueError(f"{what}: references of more than {_REFERENCES_BYTES_MOST} bytes")
            definitions[reference.name] = json.loads(found.schema_str)
            left = self._collect(what, found, definitions, left)
        return left

    def _ask(self, what: str, call: Callable[..., Any], *arguments: object) -> Any:
        """Call the registry; a failure names who is at fault."""
        try:
            with timed("registry", call.__name__):
                return call(*arguments)
        except SchemaRegistryError as error:
            if error.error_code in _UNKNOWN_CODES:
                raise _NotThereError(f"not in the registry {self._url}") from None
            if error.http_status_code in _REFUSED_STATUS:
                raise SchemaError(
                    f"{what}: refused by the registry: {_quoted(error.error_message)}",
                    "fix the schema",
                ) from error
            outage = error.http_status_code in _OUTAGE_STATUS
            kind = RegistryUnavailableError if outage else _AnsweredError
            if error.http_status_code in _CREDENTIALS_STATUS:
                raise kind(
                    f"registry {self._url}: refuses our credentials "
                    f"(HTTP {error.http_status_code})",
                    "set registry.user and registry.password",
                ) from error
            raise kind(
                f"registry {self._url}: HTTP {error.http_status_code}",
                "check registry.url and the registry",
            ) from error
        except AnswerTooLargeError as error:
            raise SchemaError(f"{what}: {error}", "make the schema shorter") from None
        except Exception as error:  # from its HTTP library, which depends on the version
            outage = self._query.is_outage(error)
            kind = RegistryUnavailableError if outage else _AnsweredError
            raise kind(
                f"registry {self._url}: {_quoted(error) or type(error).__name__}",
                "check registry.url and the registry",
            ) from error


def _quoted(said: object) -> str:
    return str(said)[:_QUOTED_MOST]


class _MissingError(SchemaError):
    """The registry does not have the id now, but may have it a moment later."""


class _AnsweredError(RegistryUnavailableError):
    """The registry answered with an error that may concern only this query."""


def _may_come(answer: str | SchemaError) -> bool:
    return isinstance(answer, _MissingError)


def _not_asked(schema_id: int) -> SchemaError:
    return SchemaError(
        f"schema id {schema_id}: not looked up, because too many unknown ids came before it",
        "if the id exists, send the record again: stream-scorer dlq replay",
    )


class _NotThereError(Exception):
    """The registry answered that it does not have the requested object."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
