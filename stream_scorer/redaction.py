"""The one redactor: it masks secrets in every text that leaves the process.

Logs, health, errors, tracebacks and the headers of dead letters pass through :func:`redacted`. It
masks what the settings name as secret, wherever it appears; user and password in an address; and
values next to names such as ``sasl.password``.
"""

import re
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
_LEAST_CHARACTERS: Final = 6
"""A secret of fewer characters would be found in other words."""

_NAME: Final = re.compile(
    r"passw|passphrase|secret|token|credential|private_?key|authorization", re.IGNORECASE
)
# Most texts contain none of these, and then nothing more is looked for.
_HINT: Final = re.compile(r"://|passw|passphrase|secret|token", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"(?<=://)[^/\s]*(?=@)")
# Not the name of a setting, a variable or a file in a message of ours: its reason follows it.
_PAIR: Final = re.compile(
    r"(?<![\w./-])(?<!setting )(?<!variable )"
    r"((?:[\w.-]*(?:password|passphrase|secret|token))\"?'?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)",
    re.IGNORECASE,
)

_known: dict[str, None] = {}


def remember(secret: str) -> None:
    """Mask a text from now on wherever it appears, also as part of a URL."""
    global _known  # noqa: PLW0603 replaced as one: another thread may be masking
    forms = {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    known = {*_known, *(text for text in forms if len(text) >= _LEAST_CHARACTERS)}
    # The longest first: one may begin with another.
    _known = dict.fromkeys(sorted(known, key=len, reverse=True))


def redacted(text: str) -> str:
    """Return a text with every secret in it masked."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    if _HINT.search(text) is None:
        return text
    return _PAIR.sub(rf"\1{MASK}", _ADDRESS.sub(MASK, text))


def names_secret(name: str) -> bool:
    """Whether a key of this name holds a secret."""
    return _NAME.search(name) is not None
