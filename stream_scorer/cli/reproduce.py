"""``stream-scorer reproduce``: recompute past decisions and compare them bit for bit."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from stream_scorer.cli.options import ClusterJsonOptions, PlanOption, WarmOption
from stream_scorer.cli.output import field_rows
from stream_scorer.errors import SettingsError

_EVERY_SECONDS = 2.0


def reproduce(
    *,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Event time of the first, ISO 8601; without a zone it is UTC."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Event time after the last, likewise.")
    ] = None,
    transaction: Annotated[
        str | None, typer.Option("--transaction", help="Only the decision of this transaction.")
    ] = None,
    depth: Annotated[
        Literal["recorded", "input"],
        typer.Option("--depth", help="From the recorded features, or from the input topics."),
    ] = "recorded",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most this many, in the topic's order.")
    ] = None,
    explore_key: Annotated[
        Path | None,
        typer.Option("--explore-key", help="Secret key of let-through: its draws are checked."),
    ] = None,
    review_key: Annotated[
        Path | None,
        typer.Option("--review-key", help="Likewise of the draw for review."),
    ] = None,
    plan: PlanOption = None,
    warm: WarmOption = None,
    options: ClusterJsonOptions,
) -> None:
    """Recompute past decisions and compare them with what was published, bit for bit.

    Exit code 13: a decision differs, is missing, or cannot be recomputed because a bundle or the
    input is gone. The output names the first value that differs. Exit code 2: nothing was asked
    for.
    """
    from stream_scorer.reproduce.run import Question  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.reproduce.run import reproduce as recompute  # noqa: PLC0415 as above

    question = Question(
        depth, _milliseconds(start, "--from"), _milliseconds(end, "--to"), transaction, limit,
        plan, warm, explore_key, review_key,
    )  # fmt: skip
    found = recompute(options.connected(), question, _Progress())
    document = found.as_record()
    rows = field_rows({name: value for name, value in document.items() if name != "examples"})
    rows += [
        (
            f"{each['transaction_id']} ({each['source_partition']}/{each['source_offset']})",
            f"{each['field']}: recorded {each['recorded']}, recomputed {each['recomputed']}",
        )
        for each in found.examples
    ]
    options.show_fields(document, "Reproduced", rows)
    found.refuse()


def _milliseconds(text: str | None, option: str) -> int | None:
    """Return a time as ms since the epoch."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{option}: {text!r} is not a time", "write 2018-04-01, or 2018-04-01T12:00:00+02:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000)


class _Progress:
    """Prints the progress from time to time, for a person who waits."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_SECONDS

    def __call__(self, what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_SECONDS
            sys.stderr.write(f"{what}: {done} of {whole} offsets\n")
