"""What a scorer compiles before its first batch is all that its batches call."""

import subprocess
import sys

# In a process of its own: in this one, other tests have compiled what a batch needs.
_COUNTED = """
import sys
from dataclasses import replace
from numba.core.dispatcher import Dispatcher
from stream_scorer.codec.reading.decode import TransactionDecoder
from stream_scorer.codec.records.codecs import open_codecs
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.records.warm_up_records import as_polled, made_up_transactions
from stream_scorer.core.summaries.summaries import InputRecords
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summaries import SummaryInput, summarize
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.scoring.warm_up import warm
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings

NOW = 1_600_000_000_000

def compiled():
    ours = [m for n, m in sys.modules.items() if n.startswith("stream_scorer.")]
    return {
        (o.py_func.__module__, o.py_func.__name__, signature)
        for module in ours for o in vars(module).values() if isinstance(o, Dispatcher)
        for signature in o.overloads
    }

class AnyId:
    def writer_schema(self, schema_id):
        return schema

    def writer_schemas(self, ids, *, budgeted):
        return dict.fromkeys(ids, schema)

settings, schema = Settings(), reader_schema("transaction.v1")
model, plan = load_model(settings, Deployment())
codecs = open_codecs(settings, FileRegistry(SCHEMAS_DIRECTORY))
warm(codecs, model, plan)
before = compiled()
# Two of nine records are rejected, so the core gets some rows of a batch.
values = made_up_transactions(plan, 9)
writer = int.from_bytes(values[0][1:5], "big")
values[3] = None
values[4] = RecordCodec(writer, schema).encode({
    "transaction_id": "t", "event_time": NOW, "customer_id": "", "terminal_id": "1",
    "amount_minor": 1, "currency": plan.currency,
})
# In the second batch two writers took turns, so it is put together of two parts.
other = list(values)
other[6] = values[6][:1] + (writer + 100).to_bytes(4, "big") + values[6][5:]
for batch in (values, other):
    raw = as_polled(batch)
    events, _, rejected = TransactionDecoder(AnyId(), plan).decode(raw)
    rings, terminals = PartitionRings(model.features), TerminalTable()
    made = decide_alone(events, rings, model, plan, terminals=terminals)
    assert (len(rejected), len(made.rejections), len(made.accepted)) == (1, 1, 7)
    decisions = made.decided[0].decisions
    later = replace(plan, segments={"amount": [5.0], "mcc": ["5411"]})
    told = SummaryInput(decisions, plan.summary_window_ms, model.bins, segments_of(later))
    summarize(InputRecords(raw.partition, raw.offset, raw.timestamp), [told])
    codecs.decisions.encode(decisions, NOW)
    for more in sorted(compiled() - before, key=str):
        print(more)
print(len(before))
"""


def test_batches_compile_nothing_after_the_warm_up() -> None:
    done = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", _COUNTED],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *more, before = done.stdout.splitlines()
    assert more == []
    assert int(before) > 0
