"""Write the report's page to a file."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stream_scorer.drift.reports.html import html_of
from stream_scorer.drift.reports.place import locate
from stream_scorer.drift.reports.report import report_of
from stream_scorer.drift.reports.sources import read_events, read_monitor, read_performance
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Settings

_DAYS: Final = 30


def write_page(settings: Settings, path: Path) -> None:
    """Write the report of the last 30 days as a page.

    Args:
        settings: The cluster and the registry.
        path: The file; its folder is created.

    Raises:
        SettingsError: A topic does not exist, or the file cannot be written.
        StateError: The monitor's snapshot is not of this format.
        UnavailableError: Broker or registry do not answer.
    """
    report = report_of(
        read_monitor(settings), read_events(settings)[0], _DAYS, locate,
        performance=read_performance(settings),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(path, report)


def write_html(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as a page; another process sees the old file or the complete new one.

    Args:
        path: The file; what is not a regular file, such as /dev/stdout, is written directly.
        report: The document of :func:`report_of`.

    Raises:
        SettingsError: The folder does not exist, or cannot be written.
    """
    text = html_of(report)
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            path.write_text(text, encoding="utf-8")
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SettingsError(f"report {path}: {error.strerror or error}") from error
