"""References come from verified bundles, and a forged name costs one look-up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.monitor.references import LOOKED_UP_MOST, NAMES_MOST, References
from stream_scorer.errors import UnavailableError
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.ports import Paused
from stream_scorer.telemetry import DriftReferenceMissing, Event
from tests.support.drift.synthetic import summaries, watch
from tests.support.drift.watched_store import VERSION, references, watched_store


def test_a_reference_is_read_from_its_bundle(tmp_path: Path) -> None:
    written = watched_store(tmp_path)
    found = references(tmp_path)
    found.prepare([("fraud", VERSION, written.digest)])
    read = found.of("fraud", VERSION, written.digest)
    assert read is not None
    assert read.digest == written.digest
    for mine, theirs in zip(read.streams, written.streams, strict=True):
        assert mine.key == theirs.key
        np.testing.assert_allclose(mine.mean, theirs.mean)
    # The monitor watches what is read.
    state = watch(reference_of=found.of)
    for summary, at in summaries(3, named=written):
        state.update(summary, at)
    assert state.versions["fraud", VERSION].streams is not None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (("fraud", VERSION, "0" * 16), "the bundle's reference is"),
        (("fraud", "8.0.0", "0" * 16), "8.0.0"),
        (("../../etc", "1", "0" * 16), "etc"),
    ],
)
def test_another_reference_is_noted_once(
    tmp_path: Path, name: tuple[str, str, str], why: str
) -> None:
    watched_store(tmp_path)
    told: list[Event] = []
    found = references(tmp_path, told)
    found.prepare([name, name])
    found.prepare([name])
    assert found.of(*name) is None
    (event,) = told
    assert isinstance(event, DriftReferenceMissing)
    assert why in event.why


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    written = watched_store(tmp_path)
    file = tmp_path / "fraud" / VERSION / "reference.json"
    file.write_bytes(file.read_bytes() + b" ")
    told: list[Event] = []
    found = references(tmp_path, told)
    found.prepare([("fraud", VERSION, written.digest)])
    assert found.of("fraud", VERSION, written.digest) is None
    assert len(told) == 1


class Store:
    """A store that is down, and counts its questions."""

    shown = "store"

    def __init__(self) -> None:
        self.asked = 0

    def folder(self, stored: Any) -> Any:
        raise NotImplementedError(stored)

    def bundles(self) -> Sequence[Any]:
        self.asked += 1
        raise UnavailableError("store: no answer")


def test_a_store_that_is_down_pauses() -> None:
    store = Store()
    found = References(store, ANY, lambda _: None)  # type: ignore[arg-type]
    for asked in (1, 2):
        with pytest.raises(Paused, match="no answer") as pause:
            found.prepare([("fraud", "1.0.0", "0" * 16)])
        assert pause.value.dependency == "models"
        assert store.asked == asked
    found.prepare([("fraud", "1", "")])
    assert store.asked == 2


def test_forged_names_are_limited(tmp_path: Path) -> None:
    told: list[Event] = []
    watched_store(tmp_path)
    found = references(tmp_path, told)
    found.prepare([("forged", str(number), "0" * 16) for number in range(LOOKED_UP_MOST + 30)])
    assert len(told) == LOOKED_UP_MOST + 1
    assert isinstance(told[-1], DriftReferenceMissing)
    assert "unknown names in one batch" in told[-1].why


def test_a_real_version_is_found_after_forged_names(tmp_path: Path) -> None:
    written = watched_store(tmp_path)
    found = references(tmp_path)
    for first in range(0, 3 * NAMES_MOST, LOOKED_UP_MOST):
        found.prepare([("forged", str(first + n), "0" * 16) for n in range(LOOKED_UP_MOST)])
    real = ("fraud", VERSION, written.digest)
    found.prepare([real])
    assert found.of(*real) is not None
    # What each batch names is not forgotten for what only one names.
    read = found.of(*real)
    for first in range(0, 3 * NAMES_MOST, LOOKED_UP_MOST):
        forged = [("other", str(first + n), "0" * 16) for n in range(LOOKED_UP_MOST)]
        found.prepare([real, *forged])
        assert found.of(*real) is read


def test_a_name_that_waits_is_looked_up_with_the_next_batch(tmp_path: Path) -> None:
    written = watched_store(tmp_path)
    found = references(tmp_path)
    real = ("fraud", VERSION, written.digest)
    names = [*(("forged", str(n), "0" * 16) for n in range(LOOKED_UP_MOST)), real]
    found.prepare(names)
    assert found.of(*real) is None
    found.prepare(names)
    assert found.of(*real) is not None


@pytest.mark.parametrize("named_in_each", [1, 2])
def test_new_forged_names_ahead_do_not_hold_up_a_real_one(
    tmp_path: Path, named_in_each: int
) -> None:
    written = watched_store(tmp_path)
    found = references(tmp_path)
    real = ("fraud", VERSION, written.digest)
    batches = 0
    while found.of(*real) is None:
        forged = [("forged", f"{batches}-{n}", "0" * 16) for n in range(LOOKED_UP_MOST + 10)]
        found.prepare([*forged, real] if batches % named_in_each == 0 else forged)
        batches += 1
        assert batches <= 1 + named_in_each
