"""What a failed reading of outputs leaves, with scripted messages."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError

from stream_scorer.errors import RegistryUnavailableError, StreamScorerError, UnavailableError
from stream_scorer.lag.accounts.ledger import OutputKind
from stream_scorer.lag.watch.output_reader import OutputReader
from stream_scorer.settings import Kafka, Settings

AT = ("decisions", 0)


class ScriptedConsumer:
    """Returns one message after the other."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)

    def poll(self, seconds: float) -> Any:
        del seconds
        return self._messages.pop(0) if self._messages else None

    def consume(self, most: int, seconds: float) -> list[Any]:
        del most, seconds
        return []

    def close(self) -> None:
        """Nothing is open."""


class ScriptedDecoder:
    """Decodes offset 150, unless the registry is down."""

    down = True

    def decode(self, values: list[bytes]) -> Any:
        del values
        if self.down:
            raise RegistryUnavailableError("registry: timed out", "start it")
        columns = {"source_topic": ["transactions"], "source_partition": [3]}
        return SimpleNamespace(records=pa.table(columns | {"source_offset": [150]}))


def message(error: Any = None) -> Any:
    fields = {"topic": AT[0], "partition": AT[1], "offset": 7, "error": error, "value": b""}
    return SimpleNamespace(**{name: lambda value=value: value for name, value in fields.items()})


@pytest.fixture
def reader() -> Iterator[Any]:
    with OutputReader(Settings(kafka=Kafka(bootstrap="127.0.0.1:1"))) as reader:
        made: Any = reader
        made._consumer.close()
        made._positions, made._marks = {AT: 7}, {AT: 8}
        yield made


def test_outputs_are_kept_while_the_registry_is_down(reader: Any) -> None:
    # Read and not noted, they would count as missing, and page.
    reader._consumer, reader._decisions = ScriptedConsumer(message()), ScriptedDecoder()
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            reader.read(0.0)
        assert not reader.reached()
    reader._decisions.down = False
    found = reader.read(0.0)
    assert found.offsets[OutputKind.DECISION, 3].tolist() == [150]
    assert reader.reached()
    assert not reader.read(0.0).offsets


def test_a_topic_that_is_gone_is_no_outage(reader: Any) -> None:
    # After an outage the count continues, and here the positions are not valid any more.
    gone = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    reader._consumer = ScriptedConsumer(message(gone))
    with pytest.raises(StreamScorerError, match="topic decisions: ") as raised:
        reader.read(0.0)
    assert not isinstance(raised.value, UnavailableError)
