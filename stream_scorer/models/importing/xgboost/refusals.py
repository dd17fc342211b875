"""One way to refuse a model file: one line that names the cause and the fix."""

from typing import Final, NoReturn

from stream_scorer.errors import ModelError

SAVE_AGAIN: Final = "save it again with Booster.save_model of XGBoost, as .json or .ubj"
_SHOWN_MOST: Final = 60


def refuse(what: str, fix: str = SAVE_AGAIN) -> NoReturn:
    """Raise the error of a refused file.

    Args:
        what: The cause; text from the file must have gone through :func:`shown`.
        fix: What the reader can do.

    Raises:
        ModelError: Always.
    """
    raise ModelError(f"XGBoost model: {what}", fix)


def shown(text: str) -> str:
    """Return a text from the file for an error: quoted, on one line, at most 60 characters."""
    line = ascii(text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}...")
    return line if len(line) <= 2 * _SHOWN_MOST else f"{line[: 2 * _SHOWN_MOST]}...'"
