"""W3C Trace Context, level 1: which trace a request continues.

An invalid ``traceparent`` starts no trace. An invalid ``tracestate`` is dropped; its
``traceparent`` counts all the same.
"""

from re import ASCII
from re import compile as pattern
from typing import Final

_PARENT: Final = pattern(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?",
    ASCII,
)
_MEMBER: Final = pattern(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]",
    ASCII,
)
_STATE_BYTES_MOST: Final = 512
_MEMBERS_MOST: Final = 32
_PARENT_BYTES_MOST: Final = 256
_SAMPLED: Final = 1


def trace_of(traceparent: str | None, tracestate: str | None) -> tuple[str, str]:
    """Return the trace context to continue.

    Args:
        traceparent: Value of the header field; None without one.
        tracestate: Value of the header field; None without one.

    Returns:
        Both, valid and of version 00; empty without a valid ``traceparent``.

    >>> trace_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rojo=00f067aa")
    ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'rojo=00f067aa')
    >>> trace_of("00-00000000000000000000000000000000-b7ad6b7169203331-01", None)
    ('', '')
    """
    if traceparent is None or len(traceparent) > _PARENT_BYTES_MOST:
        return "", ""
    found = _PARENT.fullmatch(traceparent)
    if found is None:
        return "", ""
    version, trace, parent, flags, rest = found.groups()
    if version == "ff" or not trace.strip("0") or not parent.strip("0"):
        return "", ""
    if version == "00":
        if rest is not None:
            return "", ""
    else:
        # A later version may have further parts; of its flags only this one is known.
        traceparent = f"00-{trace}-{parent}-{int(flags, 16) & _SAMPLED:02x}"
    return traceparent, "" if tracestate is None else _valid_state(tracestate)


def _valid_state(tracestate: str) -> str:
    """Return a ``tracestate`` without optional white space; empty if it is invalid."""
    if len(tracestate) > _STATE_BYTES_MOST:
        return ""
    members = [member.strip(" \t") for member in tracestate.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MEMBERS_MOST or len(keys) != len(members):
        return ""
    if any(_MEMBER.fullmatch(member) is None for member in members):
        return ""
    return ",".join(members)
