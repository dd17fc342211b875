"""The image compiles every kernel that the Kafka binding calls."""

import numpy as np

from stream_scorer.kafka.client import kernels
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.ports import BytesColumn

OPTIONS = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
KERNELS = (
    kernels.measure, kernels.take, kernels.fill, kernels.error_of, kernels.send_with_headers,
)  # fmt: skip


def test_the_binding_calls_no_kernel_that_is_not_compiled_ahead() -> None:
    kernels.compile_all()
    ahead = [set(each.signatures) for each in KERNELS]
    assert all(ahead)

    producer = ColumnProducer(OPTIONS)
    text = BytesColumn.of([b"x"])
    made = BytesColumn(np.zeros(1, np.uint8), np.array([0, 1]), None)
    for values, keys in ((text, text), (text, made), (made, made)):
        producer.produce("topic", values, keys)
    producer.produce("topic", text, text, headers=[[("name", b"value")]])
    producer.produce("topic", text, text, timestamps=np.array([1_700_000_000_000]))
    consumer = ColumnConsumer({**OPTIONS, "group.id": "group"}, "topic")
    consumer.poll(5, 0.01, 0.01)
    consumer._columns(np.empty(0, np.int64), 0, 0)
    producer.close()
    consumer.close()

    assert [set(each.signatures) for each in KERNELS] == ahead
