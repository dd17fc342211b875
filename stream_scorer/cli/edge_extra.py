"""What is printed if the packages of the extra ``edge`` are not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stream_scorer.errors import SettingsError

_PACKAGES: Final = frozenset({"securesystemslib", "tuf"})


@contextmanager
def needs_tuf(command: str) -> Iterator[None]:
    """Import what needs the extra inside of this block.

    Args:
        command: For the message.

    Raises:
        SettingsError: A package of the extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise SettingsError(
            f"{command}: the Python package {package} is missing",
            'install the extra: pip install "stream-scorer[edge]"',
        ) from error
