"""When a schedule is due: five fields of cron, in UTC. Only a process with a schedule needs it."""

from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.errors import SettingsError

_FIELDS: Final = 5


def check_schedule(schedule: str) -> None:
    """Refuse a text that is not a schedule.

    Args:
        schedule: Five fields; empty for none.

    Raises:
        SettingsError: Schedules need the extra ``retrain``, which is not installed.
        ValueError: It is not five fields of cron, or never due.
    """
    if not schedule:
        return
    if len(schedule.split()) != _FIELDS:
        raise ValueError("schedule: has five fields: minute, hour, day, month, day of the week")
    next_due(schedule, 0)


def next_due(schedule: str, after_ms: int) -> int:
    """Return the first time after a time at which a schedule is due, ms since the epoch.

    Args:
        schedule: Five fields of cron.
        after_ms: ms since the epoch.

    Raises:
        SettingsError: The extra ``retrain`` is not installed.
        ValueError: It is not a schedule, or never due.
    """
    parser = _parser()
    try:
        due = next(parser.CronSim(schedule, datetime.fromtimestamp(after_ms / 1_000, UTC)))
    except (parser.CronSimError, StopIteration) as error:
        raise ValueError(f"schedule: {error or 'is never due'}") from None
    return round(due.timestamp() * 1_000)


def _parser() -> Any:
    try:
        import cronsim  # noqa: PLC0415 an extra
    except ImportError:
        raise SettingsError(
            "retrain.toml: schedule: needs the package cronsim",
            'install the extra: pip install "stream-scorer[retrain]"',
        ) from None
    return cronsim
