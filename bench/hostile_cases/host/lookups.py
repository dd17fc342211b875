"""Unknown schema ids, and a registry that answers badly."""

import inspect
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from bench.hostile_cases.case import Place, cases, entry
from bench.hostile_cases.data.decoding import Source, body, framed, raw, schema_with
from bench.hostile_cases.host.requests import Answering, served

_ASKED: Final = "/schemas/ids/"
_BLANKS: Final = {"chain": 0, "wide": 100_000}
"""The subjects whose versions reference each other, and what makes their schemas long."""
_VERSION: Final = re.compile(f"/subjects/({'|'.join(_BLANKS)})/versions/([0-9]+)")
_MISSING: Final = b'{"error_code":40403,"message":"Schema not found"}'
_MB: Final = b" " * (1 << 20)
Answer = Callable[[Answering], None]


@contextmanager
def _registry(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve the shipped schemas, and ``answer`` for ids from 900 on; record the requests."""
    requests: list[str] = []
    source = Source()

    class Handler(Answering):
        def get(self, path: str) -> None:
            version = _VERSION.fullmatch(path)
            if version is None and not path.startswith(_ASKED):
                self.send(200, b'{"compatibilityLevel":"BACKWARD"}')
                return
            requests.append(path)
            if version is not None:
                self.send(200, _link(version[1], int(version[2])))
                return
            number = int(path.removeprefix(_ASKED).partition("/")[0])
            if number < 900:
                self.send(200, json.dumps({"schema": source.writer_schema(number)}).encode())
            else:
                answer(self)

    with served(Handler) as url:
        yield url, requests


def _link(subject: str, number: int) -> bytes:
    """Return a version of a subject that references the next one."""
    after = {"name": f"R{number + 1}", "subject": subject, "version": number + 1}
    schema = '"int"' + " " * _BLANKS[subject]
    return json.dumps(
        {"subject": subject, "id": 901, "version": number, "schema": schema, "references": [after]}
    ).encode()


def _unknown(handler: Answering) -> None:
    handler.send(404, _MISSING)


def _schema(value: Any, **more: Any) -> Answer:
    return lambda handler: handler.send(200, json.dumps({"schema": value, **more}).encode())


def _pieces(piece: bytes, count: int, pause: float = 0.0) -> Answer:
    """Send an answer of unknown length piece by piece."""

    def answer(handler: Answering) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        try:
            for _ in range(count):
                handler.wfile.write(piece)
                time.sleep(pause)
        except OSError:
            handler.close_connection = True

    return answer


def _fails(handler: Answering) -> None:
    handler.send(500, b'{"error_code":50001,"message":"error in the backend"}')


def _decoded(
    ids: Callable[[], list[int]], answer: Answer, tries: int = 1, **registry: Any
) -> Callable[[Place], str]:
    """Decode records of unknown ids with a good one, over HTTP.

    The text contains the number of queries and the records' results.
    """

    def run(_: Place) -> str:
        settings = entry("stream_scorer.settings", "Registry")
        decoder_of = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")
        plan = entry("stream_scorer.core.events.plan", "Plan")()
        now = [0.0]
        with _registry(answer) as (url, asked):
            source = entry("stream_scorer.registry.http_registry", "HttpRegistry")(
                settings(url=url, timeout_seconds=3.0, **registry), lambda: now[0]
            )
            decoder = decoder_of(source, plan)
            given: list[bytes | None] = [
                Source().good("good"), *(framed(body(), number) for number in ids())
            ]  # fmt: skip
            budgeted = "budgeted" in inspect.signature(decoder.decode).parameters
            for left in reversed(range(tries)):
                try:
                    found = decoder.decode(raw(given), **({"budgeted": True} if budgeted else {}))
                    break
                except entry("stream_scorer.errors", "RegistryUnavailableError"):
                    now[0] += 2.0  # the loop's pause after an outage
                    if not left:
                        raise
            events, _, rejections = found
            good = "good" in events.records.column("transaction_id").to_pylist()
            reasons = sorted({str(reason) for reason in rejections.reasons})
            few = "few" if len(asked) <= 48 else len(asked)
            return f"{few} questions, good {good}, {len(rejections)} {'/'.join(reasons)}"

    return run


def _compressed(place: Place) -> str:
    """Answer with 300 MB of blanks in 300 KB, compressed before the question's time runs."""
    packed = zlib.compressobj(1, wbits=31)
    data = b"".join([*(packed.compress(_MB) for _ in range(300)), packed.flush()])
    return _decoded(
        _ONE, lambda handler: handler.send(200, data, Content_Encoding="gzip"), tries=12
    )(place)


def _again(_: Place) -> str:
    """Decode 30 batches of the same unknown id, one after the other."""
    settings = entry("stream_scorer.settings", "Registry")
    plan = entry("stream_scorer.core.events.plan", "Plan")()
    with _registry(_unknown) as (url, asked):
        source = entry("stream_scorer.registry.http_registry", "HttpRegistry")(settings(url=url))
        for _batch in range(30):
            decoder = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")(
                source, plan
            )
            decoder.decode(raw([framed(body(), 900)]))
        return f"asked {len(asked)} times"


def _profiled(_: Place) -> str:
    """Have a profiler compute a batch of 2,000 unknown ids around a good record."""
    import numpy as np  # noqa: PLC0415 one case needs it

    module = entry("stream_scorer.terminals.profiler_work")
    schema = entry("stream_scorer.registry.sources", "reader_schema")
    stages = entry("stream_scorer.kafka.loop.work_interface", "Stages")
    plan = entry("stream_scorer.core.events.plan", "Plan")()
    reading = entry("stream_scorer.codec.reading.decode")
    values: list[bytes | None] = [Source().good("good")]
    values += [framed(body(), number) for number in range(1_000, 3_000)]
    batch = replace(raw(values), partition=np.zeros(len(values), np.int32))
    with _registry(_unknown) as (url, asked):
        source = entry("stream_scorer.registry.http_registry", "HttpRegistry")(
            entry("stream_scorer.settings", "Registry")(url=url)
        )
        decoders = module.Decoders(
            reading.TransactionDecoder(source, plan),
            reading.ColumnDecoder(source, schema("label.v1"), plan),
        )
        rows = module.RowEncoder(7, schema("terminal-profile.v2"), "rows", 1)
        work = module.ProfilerWork(
            plan, 1, 2, decoders, rows, {}, lambda _: None, lambda *_: None
        )  # fmt: skip
        result = work.compute(batch, stages())
        rejected = work.keep(result, stages(), batch).rejected
        few = "few" if len(asked) <= 48 else len(asked)
        return f"{few} questions, {len(work.pending)} pending, {rejected}"


def _ids(first: int, count: int) -> Callable[[], list[int]]:
    return lambda: list(range(first, first + count))


_ONE: Final = _ids(900, 1)
_UNKNOWN: Final = r"few questions, good True, \d+ UNKNOWN_SCHEMA$"
_INCOMPATIBLE: Final = r"few questions, good True, 1 (INCOMPATIBLE|UNKNOWN)_SCHEMA$"

CASES: Final = cases(
    "lookup", 6,
    ("2,000 unknown ids in one batch", "budget", _UNKNOWN, _decoded(_ids(1_000, 2_000), _unknown)),
    ("2,000 unknown ids in the profiler's input", "profiler-budget",
     r"few questions, 1 pending, \{'UNKNOWN_SCHEMA': 2000\}$", _profiled),
    ("ids that no registry gives", "id-range", "few questions, good True, 3 UNKNOWN",
     _decoded(lambda: [0, 2**31, 2**32 - 1], _unknown)),
    ("one unknown id", "budget", _UNKNOWN, _decoded(_ONE, _unknown)),
    ("an id for which the registry fails each time", "failing", _UNKNOWN,
     _decoded(_ONE, _fails, tries=12)),
    ("an answer of 400 MB", "answers", _UNKNOWN, _decoded(_ONE, _pieces(_MB, 400), tries=12)),
    ("an answer of 300 MB, compressed", "answers", _UNKNOWN, _compressed),
    ("an answer that comes byte by byte", "answers", f"{_UNKNOWN}|RegistryUnavailableError: ",
     _decoded(_ONE, _pieces(b" ", 300, 0.1), tries=4)),
    ("an answer that is not JSON", "answers", _UNKNOWN,
     _decoded(_ONE, lambda h: h.send(200, b"<html>"), tries=12)),
    ("a schema that is a number", "answers", _INCOMPATIBLE, _decoded(_ONE, _schema(17), tries=12)),
    ("an answer nested 100,000 deep", "answers", _UNKNOWN,
     _decoded(_ONE, lambda h: h.send(200, b"[" * 100_000), tries=12)),
    ("a Protobuf schema", "answers", _INCOMPATIBLE,
     _decoded(_ONE, _schema("syntax", schemaType="PROTOBUF"), tries=12), "1 UNKNOWN_SCHEMA"),
    ("a schema that the registry refuses", "refused", _UNKNOWN,
     _decoded(_ONE, lambda h: h.send(422, b'{"error_code":42201,"message":"invalid"}'))),
    ("a registry that refuses our password", "outage", "RegistryUnavailableError: ",
     _decoded(_ONE, lambda h: h.send(401, b'{"error_code":40101,"message":"no"}')),
     "refuses our credentials"),
    ("one unknown id in 30 batches", "remembered", "asked [1-3] times", _again),
    ("references without an end", "references", r"6[456] questions, good True, 0 $", _decoded(
         _ONE,
         _schema(schema_with(), references=[{"name": "R", "subject": "chain", "version": 1}]),
     )),
    ("references to 100 KB each, without an end", "references", "few questions, good True, 0 $",
     _decoded(
         _ONE,
         _schema(schema_with(), references=[{"name": "R", "subject": "wide", "version": 1}]),
     )),
    ("a schema that references itself", "answers", f"{_INCOMPATIBLE}|few questions, good True, 0 ",
     _decoded(
         _ONE,
         _schema(schema_with(), references=[{"name": "A", "subject": "s", "version": 1}]),
         tries=12,
     )),
)  # fmt: skip
