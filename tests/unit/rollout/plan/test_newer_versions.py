"""A command of a newer version: it stops a reader if an operator signed it, and else is refused."""

from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.errors import RolloutError
from stream_scorer.rollout.plan.control_record import Command
from stream_scorer.security.canonical_json import canonical
from tests.support.rollout.scene import CONTROLLER, CONTROLLER_KEY, OPERATOR, Writer


def test_a_later_programs_command_stops_a_reader_if_it_counts() -> None:
    writer = Writer()
    writer.start()
    command = writer.make("pause", None)

    def signed(**changed: Any) -> Command:
        later = replace(command, key_id=writer.make("pause").key_id, **changed)
        return replace(later, signature=OPERATOR.sign(later.statement))

    body = canonical({"format": 2}).decode()
    with pytest.raises(
        RolloutError,
        match="offset 1: format 2 was written by a newer version of stream-scorer — upgrade",
    ):
        writer.take(signed(body=body))
    with pytest.raises(RolloutError, match="kind 'merge' was written by a newer version"):
        writer.take(signed(kind="merge"))
    # Nobody can stop a scorer who could not have started a rollout, not even the controller.
    writer.start(controller={"key": CONTROLLER_KEY, "may": ["step"], "up_to": 25})
    made = writer.make("pause", CONTROLLER)
    for wrote, why in (
        (replace(made, kind="merge"), "kind 'merge'"), (replace(made, body=body), "format 2"),
    ):  # fmt: skip
        entry = writer.take(replace(wrote, signature=CONTROLLER.sign(wrote.statement)))
        newer = "was written by a newer version of stream-scorer"
        assert entry.refused == f"{why} {newer}, and not signed by an operator"
    command = writer.make("pause", None)
    assert writer.take(replace(command, kind="merge")).refused == "is not signed"
    assert "3 is next" not in writer.take(replace(signed(kind="merge"), sequence=9)).refused
