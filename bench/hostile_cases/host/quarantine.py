"""Records for which the computation fails each time."""

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, entry
from bench.hostile_cases.data.decoding import raw

_ROWS: Final = 200
Fails = Callable[[Any, Collection[int]], None]


def _values(records: Any) -> list[bytes]:
    return [records.values[row] or b"" for row in range(len(records))]


def _rejected(fails: Fails) -> Callable[[Place], str]:
    """Compute a batch in which ``fails`` raises for some of the records that are computed."""

    def run(_: Place) -> str:
        work, module = (
            entry("stream_scorer.kafka.loop.work_interface"),
            entry("stream_scorer.kafka.loop.quarantine"),
        )
        paused = entry("stream_scorer.ports", "Paused")
        trials = [0]

        def trial(records: Any, _: Any, rejected: Mapping[int, str]) -> Any:
            trials[0] += 1
            found = [int(v) for row, v in enumerate(_values(records)) if row not in rejected]
            fails(trials[0], found)
            return SimpleNamespace(found=found)

        batch = raw([str(n).encode() for n in range(_ROWS)])
        quarantine = module.Quarantine(trial, lambda _: None, lambda: True)
        first: Exception = ValueError("not raised")
        try:
            fails(0, range(_ROWS))
        except Exception as error:  # noqa: BLE001 what the computation raises
            if not module.blames_records(error):
                return f"passed on: {type(error).__name__}"
            first = error
        try:
            result, rejected = quarantine.compute(batch, work.Stages(), first)
        except paused as error:
            return f"paused: {error}"
        kept = "the others decided" if len(result.found) == _ROWS - len(rejected) else "LOST"
        return f"{sorted(rejected)} rejected ({'/'.join(sorted(set(rejected.values())))}), {kept}"

    return run


def _for(*rows: int, error: Callable[[], Exception] = lambda: ValueError("secret")) -> Fails:
    def fails(_: int, found: Collection[int]) -> None:
        if any(row in found for row in rows):
            raise error()

    return fails


def _never_twice(trial: int, _: Collection[int]) -> None:
    """Fail each time otherwise."""
    raise (ValueError, KeyError, TypeError, IndexError)[trial % 4]("x")


def _by_chance(trial: int, _: Collection[int]) -> None:
    """Fail every other time."""
    if trial % 2 == 0:
        raise ValueError("x")


def _pair(_: int, found: Collection[int]) -> None:
    """Fail where two records come together."""
    if 7 in found and 90 in found:
        raise ZeroDivisionError("x")


CASES: Final = (
    Case("quarantine: one record for which the computation fails", 3, "quarantine",
         r"\[17\] rejected .*the others decided", _rejected(_for(17))),
    Case("quarantine: the first record of a batch", 3, "quarantine",
         r"\[0\] rejected .*the others decided", _rejected(_for(0))),
    Case("quarantine: the last record of a batch", 3, "quarantine",
         r"\[199\] rejected .*the others decided", _rejected(_for(_ROWS - 1))),
    Case("quarantine: eight records", 3, "eight", r"\[.*\] rejected .*the others decided",
         _rejected(_for(*range(0, 160, 20)))),
    Case("quarantine: nine records", 3, "eight", "paused: ", _rejected(_for(*range(0, 180, 20)))),
    Case("quarantine: every record", 3, "eight", "paused: ", _rejected(_for(*range(_ROWS)))),
    Case("quarantine: a record that fails only after another", 3, "quarantine",
         r"\[90\] rejected .*the others decided", _rejected(_pair)),
    Case("quarantine: failures of another kind each time", 3, "repeats", "paused: ",
         _rejected(_never_twice)),
    Case("quarantine: failures by chance", 3, "repeats", r"\[\] rejected .*the others decided",
         _rejected(_by_chance)),
    Case("quarantine: no memory", 3, "not-records", "passed on: MemoryError",
         _rejected(_for(17, error=MemoryError))),
    Case("quarantine: a full disk", 3, "not-records", "passed on: OSError",
         _rejected(_for(17, error=lambda: OSError(28, "No space left")))),
    Case("quarantine: an error text with values of the record", 3, "no-values",
         r"(?!.*secret)\[17\] rejected", _rejected(_for(17))),
)  # fmt: skip
