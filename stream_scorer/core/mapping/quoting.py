"""Values in the errors of a plan: short, whatever the value is."""

from collections.abc import Callable
from typing import Final

QUOTED_MOST: Final = 100
"""Maximum number of characters of a value in an error."""


def quoted(value: object, most: int = QUOTED_MOST, write: Callable[[object], str] = repr) -> str:
    """Return a value as an error quotes it.

    Args:
        value: Any value of a TOML or JSON document.
        most: Maximum number of characters; a longer text ends with ``...``.
        write: Returns the value as text.

    >>> quoted("b" * 60, 20)
    "'bbbbbbbbbbbbbbbb..."
    """
    try:
        text = write(value)
    except ValueError:
        # Python converts no integer of more than 4,300 digits to text. TOML's hexadecimal, octal
        # and binary integers may have any number of digits.
        where = "" if isinstance(value, int) else f"a {type(value).__name__} with "
        text = f"{where}an integer of over 4,300 digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def quoted_key(name: str) -> str:
    """Return a name as part of a dotted key in an error: as :func:`quoted`, without quotes.

    >>> "rates." + quoted_key("USD")
    'rates.USD'
    """
    return quoted(name, write=lambda key: repr(key)[1:-1])
