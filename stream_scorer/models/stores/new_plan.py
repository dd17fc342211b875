"""The plan of a new model: chosen when the model is made, and written next to its versions."""

from pathlib import Path
from typing import Final

from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import PlanFiles, plan_files
from stream_scorer.models.stores.store import PLAN, PlanMissingError, read_plan_text

_DEFAULT: Final = "# Every key has its default; see docs/CONFIGURATION.md, section 'Plan'.\n"
_EVENTS: Final = "events.toml"


def plan_files_for(plan: Path | None, events: Path | None, own: Path) -> PlanFiles:
    """Return the files of the plan under which a model is made.

    Args:
        plan: File or folder; None for the one next to the model's versions, if there is one.
        events: In place of its mapping.
        own: The plan file next to the model's versions.

    Raises:
        SettingsError: A file cannot be read, or is not a mapping.
    """
    named = plan or (own.parent if own.is_file() else None)
    files = PlanFiles(events or own, _DEFAULT, {}) if named is None else plan_files(named)
    if events is None:
        return files
    try:
        text = read_plan_text(events)
        parse_events(text)
    except PlanMissingError:
        raise SettingsError(f"events {events}: no such file", "name a file: --events") from None
    except ValueError as error:
        raise SettingsError(f"events {events}: {error}", "correct the file") from error
    return PlanFiles(files.path, files.text, {**files.parts, _EVENTS: text})


def place(files: PlanFiles, own: Path) -> None:
    """Write a plan next to a model's versions, if there is none.

    Without a plan there, other commands refuse the model.

    Args:
        files: The plan under which the model was made.
        own: The plan file next to the model's versions.
    """
    if own.exists():
        return
    for name, text in {PLAN: files.text, **files.parts}.items():
        own.with_name(name).write_text(text, encoding="utf-8")
