"""The documented rules that the cases hold the product to, by the page that states them.

Each is the heading of a section of docs/SECURITY.md and a part of its text, word for word apart
from line breaks and code marks; the bench fails where the page does not say it.
"""

from typing import Final

_RECORDS: Final = "Schemas and records"
_OWN: Final = "Our own topics"
_STATE: Final = "Checkpoints"
_IDS: Final = "Schema ids that are unknown"
_BUNDLES: Final = "Model bundles"
_REJECTED: Final = "Rejections are history"
_GROUP: Final = "Group membership and fencing"
_READS: Final = "Reads end at offsets"
_TERMINALS: Final = "Terminals"
_LETTERS: Final = "Replaying dead letters"
_HTTP: Final = "Metrics and probe server"

RULES: Final[dict[str, tuple[str, str]]] = {
    "fixed": (_RECORDS, "`fixed` of 0 to `record_bytes_max` bytes"),
    "limits": (_RECORDS, "text ≤ 256 KiB, 64 nested types, 2,048 fields, 65,536 compiled steps"),
    "steps": (_RECORDS, "A record of b bytes takes at most 64 b + 4,096 steps"),
    "depth": (_RECORDS, "64 nested types"),
    "prepare": (_RECORDS, "an error while one is prepared rejects *its own* records"),
    "records": (_RECORDS, "A client may register any schema and send any bytes."),
    "own-topics": (_OWN, "What is not readable is skipped"),
    "plans": (_OWN, "an entry of `history` that changes nothing"),
    "commands": (_OWN, "an entry of `history` that changes nothing"),
    "segments": (_REJECTED, "a damaged segment, or a rejected offset at or after"),
    "ids": (_GROUP, "no instance name contains `:`, `/` or `@`"),
    "expelled": (_GROUP, "no member id, or a generation below 0, aborts"),
    "clock": (_GROUP, "**Ages count suspension.**"),
    "reads": (_READS, "read to the **high watermark** of when they began"),
    "open": (_READS, "A transaction that is open then is waited for"),
    "stalled": (_READS, "30 s of waiting for the broker without an offset gained"),
    "escaped": (_TERMINALS, "Every command escapes characters that are not printable"),
    "one-line": (_TERMINALS, "line breaks inside a value"),
    "markup": (_TERMINALS, "Markup such as `[/x]` or `[link=…]` is shown as text."),
    "error": (_TERMINALS, "An error is one line, whatever it quotes."),
    "shape": (_TERMINALS, "A record that has not the shape of its topic is one line"),
    "times": (_TERMINALS, "Times that no calendar has are shown in milliseconds."),
    "foreign": (_TERMINALS, "headers are not ones that a scorer can have written"),
    "replay": (_LETTERS, "only if the input holds the same value, key and headers"),
    "retention": (_LETTERS, "Retention took the source: exit code 7"),
    "threads": (_HTTP, "At most 8 requests are served at the same time"),
    "seconds": (_HTTP, "A connection is closed after 5 seconds"),
    "head": (_HTTP, "Request line and header fields together have at most 16 KiB"),
    "get-only": (_HTTP, "Only GET is served, and a body is not read."),
    "token": (_HTTP, "Others get 401, and of a probe its status alone."),
    "tls": (_HTTP, "serve HTTPS (TLS 1.2 or newer)"),
}  # fmt: skip
