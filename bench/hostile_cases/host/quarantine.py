"""Records for which the computation always fails."""

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, Final

from bench.hostile_cases.case import Place, cases, entry
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


CASES: Final = cases(
    "quarantine", 3,
    ("one record for which the computation fails", "quarantine",
     r"\[17\] rejected .*the others decided", _rejected(_for(17))),
    ("the first record of a batch", "quarantine", r"\[0\] rejected .*the others decided",
     _rejected(_for(0))),
    ("the last record of a batch", "quarantine", r"\[199\] rejected .*the others decided",
     _rejected(_for(_ROWS - 1))),
    ("eight records", "eight", r"\[.*\] rejected .*the others decided",
     _rejected(_for(*range(0, 160, 20)))),
    ("nine records", "eight", "paused: ", _rejected(_for(*range(0, 180, 20)))),
    ("every record", "eight", "paused: ", _rejected(_for(*range(_ROWS)))),
    ("a record that fails only after another", "quarantine",
     r"\[90\] rejected .*the others decided", _rejected(_pair)),
    ("failures of another kind each time", "repeats", "paused: ", _rejected(_never_twice)),
    ("failures by chance", "repeats", r"\[\] rejected .*the others decided", _rejected(_by_chance)),
    ("no memory", "not-records", "passed on: MemoryError", _rejected(_for(17, error=MemoryError))),
    ("a full disk", "not-records", "passed on: OSError",
     _rejected(_for(17, error=lambda: OSError(28, "No space left")))),
    ("an error text with values of the record", "no-values", r"(?!.*secret)\[17\] rejected",
     _rejected(_for(17))),
)  # fmt: skip
