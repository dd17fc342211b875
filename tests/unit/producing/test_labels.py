import numpy as np
import pytest

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.producing.labels import LabelEncoder, due_before
from stream_scorer.settings import Registry
from stream_scorer.simulator import simulate


@pytest.mark.parametrize("delay", [0, 1, 10, 1_000])
def test_a_label_directly_precedes_the_first_later_transaction(delay: int) -> None:
    time = np.sort(np.random.default_rng(0).integers(0, 500, 300))
    before = due_before(time, delay)
    assert (np.diff(before) >= 0).all()
    assert (before > np.arange(300)).all()
    for number, at in enumerate(before.tolist()):
        assert (time[:at] <= time[number] + delay).all()
        assert (time[at:] > time[number] + delay).all()


def test_a_label_is_a_statement_that_can_be_sent_again() -> None:
    (rows,) = simulate(days=3, customers=50).combine_chunks().to_batches()
    values, reader = LabelEncoder(Registry(), 1_000)(rows), RecordReader(Registry(), "label.v2")
    found = [reader.decode(value) for value in values]
    assert [each["state"] == "FRAUD" for each in found] == rows.column("is_fraud").to_pylist()
    assert [each["is_fraud"] for each in found] == rows.column("is_fraud").to_pylist()
    assert {each["state"] for each in found} == {"FRAUD", "GENUINE"}
    assert [each["label_id"] for each in found] == rows.column("transaction_id").to_pylist()
    assert {each["source"] for each in found} == {"simulator"}
