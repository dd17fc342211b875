"""The documented rules that hostile requests check: a page in docs/, and words of it."""

from typing import Final

_API: Final = "API*.md"
_SECURITY: Final = "SECURITY.md"
_INFERENCE: Final = _API

RULES: Final[dict[str, tuple[str, str]]] = {
    "credential": (_SECURITY, "a request without a valid credential gets 401"),
    "key form": (_SECURITY, "Form and checksum; everything else is malformed"),
    "key": (_SECURITY, "Comparison in constant time, also for an unknown id"),
    "key expiry": (_SECURITY, "A key is refused from its expiry on"),
    "client": (
        _SECURITY,
        "A client is refused before `not_before`, from `expires` on, while disabled and after",
    ),
    "token form": (_SECURITY, "At most 8 KiB, three parts, base64url without padding"),
    "unsigned": (_SECURITY, "`none` in any spelling is refused"),
    "hmac": (_SECURITY, "A public key is never the secret of an HMAC"),
    "algorithm": (_SECURITY, "An algorithm must be one of the key's type and of the settings"),
    "kid": (_SECURITY, "`kid` is a text that is only looked up; it is neither a path nor a query"),
    "embedded": (_SECURITY, "`jwk`, `jku`, `x5c` and `x5u` are not used"),
    "extensions": (_SECURITY, "Other types of tokens and extensions (`crit`, `b64`) are refused"),
    "token json": (_SECURITY, "Duplicate names, NaN and deep nesting are refused, though signed"),
    "claims": (_SECURITY, "`iss`, `aud`, `sub`, `iat` and `exp` are required; each must be exact"),
    "time": (_SECURITY, "`exp`, `nbf` and `iat` within the leeway, at each use"),
    "other service": (_SECURITY, "Issuer and audience must be equal to the settings"),
    "signature": (_SECURITY, "Only the issuer's public keys verify"),
    "mapped": (_SECURITY, "Only mapped values give scopes"),
    "certificate": (_SECURITY, "The header of another peer is a 401 and an audit line"),
    "metadata": (_SECURITY, "gRPC takes the subject from its connection only"),
    "page": (_SECURITY, "No requests of web pages (`Origin`, `Sec-Fetch-Site`), on any server"),
    "rate": (_SECURITY, "Past a limit it gets 429"),
    "framing": (_SECURITY, "A head with two different lengths, a length that is not a plain"),
    "fields": (_SECURITY, "A field that must be unique and occurs twice"),
    "paths": (_SECURITY, "double encodings, control characters, backslashes or invalid UTF-8 are"),
    "exact": (_SECURITY, "Paths are compared exactly; there is no other spelling of a route"),
    "order": (_SECURITY, "A client is authenticated, and its scope checked, before its body"),
    "log": (_SECURITY, "A log line has the pattern of a path, never the path, the query, a body"),
    "leak": (_SECURITY, "A problem contains nothing of an exception"),
    "http2": (_SECURITY, "It has limits against reset floods and endless heads"),
    "proxy": (_SECURITY, "The header counts only from a peer in"),
    "scope": (_API, "The client does not have the scope"),
    "large": (_API, "The body is longer than the route allows"),
    "slow": (_API, "The body did not arrive in time"),
    "type": (_API, "The `content-type` is missing or not one of the route's"),
    "encoding": (_API, "The body is compressed"),
    "head": (_API, "If the head is not valid HTTP, the answer is a 400 or 431 without a body"),
    "methods": (_API, "There is no CORS: no answer has `access-control-allow-origin`"),
    "id": (_API, "if it has at most 64 of the characters `A-Z a-z 0-9 . _ -`"),
    "once": (_API, "A path is percent-decoded once"),
    "unknown model": (_INFERENCE, "| 404 | `NOT_FOUND` |"),
    "inference": (_INFERENCE, "| 400 | `INVALID_ARGUMENT` |"),
    "not json": (_INFERENCE, "JSON has no NaN and no Infinity"),
}
"""By name; a star stands for several pages. Line breaks of the pages do not count."""
