"""The one redactor: it masks secrets in every text that leaves the process.

Logs, health, errors, tracebacks and the headers of dead letters pass through :func:`redacted`. It
masks what the settings name as secret, wherever it appears; user and password in an address; API
keys and bearer tokens; and values next to names such as ``sasl.password``.
"""

import json
import re
from itertools import groupby
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
_LEAST_CHARACTERS: Final = 6
"""A secret of fewer characters would be found in other words."""

_NAME: Final = re.compile(
    r"passw|passphrase|secret|token|credential|private_?key|authorization", re.IGNORECASE
)
# Most texts contain none of these, and need no further search.
_HINT: Final = re.compile(r"://|passw|passphrase|secret|token", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"(?<=://)[^/\s]*(?=@)")
# Not the name of a setting, a variable or a file in a message of ours: its reason follows it.
_PAIR: Final = re.compile(
    r"(?<![\w./-])(?<!setting )(?<!variable )"
    r"((?:[\w.-]*(?:password|passphrase|secret|token))\"?'?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)",
    re.IGNORECASE,
)
# An API key of a client, or a signed token; neither is a setting.
_CREDENTIAL: Final = re.compile(
    r"ssk_[0-9a-f]{12}_[0-9A-Za-z]+|(?<![\w-])eyJ[\w-]{10,}+\.[\w-]{10,}+\.[\w-]*+", re.ASCII
)

# An escaped form of a character contains one of these.
_ESCAPES: Final = frozenset("\\%+")
_SHORT: Final = {
    "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", " ": "s",
}  # fmt: skip
_BACKSLASHES: Final = r"\\{1,4}"
"""Before an escape: more than one where an escaped text was escaped once more."""

_known: dict[str, None] = {}
_escaped: dict[str, re.Pattern[str]] = {}


def remember(secret: str) -> None:
    """Mask a text from now on wherever it appears, also escaped or as part of a URL."""
    global _known, _escaped  # noqa: PLW0603 replaced as one: another thread may be masking
    forms = {
        secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1],
        ascii(secret)[1:-1], json.dumps(secret)[1:-1],
        # UTF-8 that was read as Latin-1, as the fields of HTTP heads are.
        secret.encode(errors="surrogatepass").decode("latin-1"),
    }  # fmt: skip
    known = {*_known, *(text for text in forms if len(text) >= _LEAST_CHARACTERS)}
    # The longest first: one may begin with another.
    _known = dict.fromkeys(sorted(known, key=len, reverse=True))
    if len(secret) >= _LEAST_CHARACTERS and secret not in _escaped:
        patterns = _escaped | {secret: _escaped_forms(secret)}
        _escaped = dict(sorted(patterns.items(), key=lambda each: len(each[0]), reverse=True))


def redacted(text: str) -> str:
    """Return a text with every secret in it masked."""
    if not _ESCAPES.isdisjoint(text):
        # First: once a shorter secret is masked, a longer one that contains it would not be found.
        for pattern in _escaped.values():
            text = pattern.sub(MASK, text)
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    if "ssk_" in text or "eyJ" in text:
        text = _CREDENTIAL.sub(MASK, text)
    if _HINT.search(text) is None:
        return text
    return _PAIR.sub(rf"\1{MASK}", _ADDRESS.sub(MASK, text))


def _escaped_forms(secret: str) -> re.Pattern[str]:
    """Return a pattern that matches a secret with any of its characters escaped.

    By Python (``repr``, ``ascii``, also of bytes), JSON or C; percent-encoded with any set of safe
    characters; or by two of these, one after the other.
    """
    parts = []
    for character, run in groupby(secret):
        count = len(list(run))
        if character == "\\":
            # The complete run, by its possible lengths: matched one by one, it could be split in
            # many ways.
            whole = "|".join(rf"\\{{{count * times}}}" for times in (4, 2, 1))
            parts.append(f"(?:{whole}|(?:{_escapes(character)}){{{count}}})")
        elif character.isascii() and character.isalnum():
            # Nothing escapes these.
            parts.append(character * count)
        else:
            # Without backslashes first: these are the next character's.
            one = (
                rf"(?:{re.escape(character)}|\\{{1,4}}{re.escape(character)}|{_escapes(character)})"
            )
            parts.append(one * count)
    return re.compile("".join(parts))


def _escapes(character: str) -> str:
    """Return the alternatives for one character that is escaped."""
    code = ord(character)
    encodings = {character.encode(errors="surrogatepass")}
    found = [rf"{_BACKSLASHES}(?i:u{code:04x})", rf"{_BACKSLASHES}(?i:U{code:08x})"]
    if code < 1 << 8:
        encodings.add(bytes((code,)))
    elif code >= 1 << 16:
        high, low = divmod(code - (1 << 16), 1 << 10)
        found.append(
            rf"{_BACKSLASHES}(?i:u{0xD800 + high:04x}){_BACKSLASHES}(?i:u{0xDC00 + low:04x})"
        )
    for data in encodings:
        found.append("".join(rf"{_BACKSLASHES}(?i:x{byte:02x})" for byte in data))
        found.append("".join(rf"{_BACKSLASHES}{byte:03o}" for byte in data))
        found.append("".join(rf"(?i:%(?:25)?{byte:02x})" for byte in data))
    if character in _SHORT:
        found.append(_BACKSLASHES + _SHORT[character])
    if character == " ":
        found.append(r"\+")
    return "|".join(found)


def names_secret(name: str) -> bool:
    """Whether a key of this name holds a secret."""
    return _NAME.search(name) is not None
