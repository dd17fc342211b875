"""A plan that is prepared judges its first record without opening or compiling anything."""

import threading
from typing import Any

import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.reading.mapped import open_decoder
from stream_scorer.codec.records import event_decoders
from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.serving.decisions.judging import Judge, JudgedEvent
from stream_scorer.serving.decisions.records import RecordMaker
from stream_scorer.serving.settings.decisions import DecisionsApi
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.serving.fake_scorers import FILES, NOW_MS, TOPIC

FIRST, SECOND = Plan(), Plan(currencies={"EUR": 3})


def test_a_prepared_plan_judges_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judging = [FIRST]
    judge = Judge(EventDecoders(FILES), lambda: judging)
    made_up = RecordMaker(FILES, DecisionsApi(), FIRST, TOPIC, SCHEMAS_DIRECTORY).made_up()
    (before,) = judge([made_up], NOW_MS)
    done: list[int] = []
    ready = ColumnDecoder._ready

    def noting_open(*arguments: Any) -> Any:
        done.append(threading.get_ident())
        return open_decoder(*arguments)

    def noting_ready(*arguments: Any) -> Any:
        done.append(threading.get_ident())
        return ready(*arguments)

    monkeypatch.setattr(event_decoders, "open_decoder", noting_open)
    monkeypatch.setattr(ColumnDecoder, "_ready", noting_ready)

    def prepare() -> None:
        judge.add(SECOND, judge.prepared(SECOND, made_up, NOW_MS))

    thread = threading.Thread(target=prepare)
    thread.start()
    thread.join()
    # The decoder is opened, and the schema compiled, on the thread.
    assert done == [thread.ident] * 2
    judging[:] = [SECOND]
    (found,) = judge([made_up], NOW_MS)
    assert isinstance(found, JudgedEvent)
    assert found == before
    assert len(done) == 2
    # A revision that reads alike shares it, and one that does not is opened as before.
    judging[:] = [Plan(currencies={"EUR": 3})]
    judge([made_up], NOW_MS)
    assert len(done) == 2
    judging[:] = [Plan(currencies={"EUR": 1})]
    judge([made_up], NOW_MS)
    assert len(done) == 4


def test_preparing_says_what_is_unavailable() -> None:
    class Away(FileRegistry):
        def writer_schema(self, schema_id: int) -> str:
            raise RegistryUnavailableError(f"the registry does not answer: {schema_id}")

    judge = Judge(EventDecoders(Away(SCHEMAS_DIRECTORY)), lambda: [FIRST])
    made_up = RecordMaker(FILES, DecisionsApi(), FIRST, TOPIC, SCHEMAS_DIRECTORY).made_up()
    with pytest.raises(RegistryUnavailableError):
        judge.prepared(SECOND, made_up, NOW_MS)
