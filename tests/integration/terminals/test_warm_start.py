"""A profiler compiles before it reads, because a scorer may wait for its first rows."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from stream_scorer.settings import Kafka
from tests.support.terminals.stage import month, send

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

# In a separate process, because other tests compile the same kernels in this one.
_COUNTED = """
import sys
from numba.core.dispatcher import Dispatcher
from stream_scorer.terminals.profiler_process import profiler_loop
from stream_scorer.scoring.process import Deployment
from stream_scorer.telemetry import BatchCommitted
from stream_scorer.settings import Kafka
from tests.support.terminals.stage import settings_of

def compiled():
    # What talks to librdkafka is small, and compiled with the first records.
    rooms = ("stream_scorer.core.", "stream_scorer.codec.")
    ours = [m for n, m in sys.modules.items() if n.startswith(rooms)]
    return {
        (o.py_func.__module__, o.py_func.__name__, signature)
        for module in ours for o in vars(module).values() if isinstance(o, Dispatcher)
        for signature in o.overloads
    }

left = int(sys.argv[2])
def listener(told):
    global left
    left -= getattr(told, "records", 0) if isinstance(told, BatchCommitted) else 0

settings = settings_of(Kafka.model_validate_json(sys.argv[1]))
loop = profiler_loop(settings, Deployment(start="earliest"), listener)
before = compiled()
loop.run(lambda: loop.stop() if left <= 0 else None)
for more in compiled() - before:
    print(more)
print(len(before))
"""


def test_the_first_batches_compile_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = month(days=10)
    send(kafka, records)
    done = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", _COUNTED, kafka.model_dump_json(), str(len(records))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *more, before = done.stdout.splitlines()
    assert more == []
    assert int(before) > 0
