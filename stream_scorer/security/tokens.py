"""Verifies bearer tokens (JWT, RFC 7519) by the rules of RFC 8725.

PyJWT verifies signature, issuer and audience. What it leaves to its caller is judged before: size,
form, duplicate names, the type, the key's id and algorithm. The key decides the algorithm, of those
that the settings accept; ``none`` and HMAC are never among them. Keys come from the issuer's
document only: a token's ``jwk``, ``jku``, ``x5c`` and ``x5u`` are not used.

Times are judged here, and again at each request: a verified token is kept, so that its next use
does not cost another signature.
"""

import binascii
import hashlib
import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import jwt

from stream_scorer.security.canonical_json import parse
from stream_scorer.security.token_keys import TokenKeys, VerificationKey

TOKEN_BYTES_MOST: Final = 8 * 1024
SUBJECT_CHARACTERS_MOST: Final = 128
_KEPT_MOST: Final = 4_096
_SCOPE_VALUES_MOST: Final = 1_000
_LATEST: Final = 2**40
"""A time in seconds that no token needs: the year 36,812."""
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_SUBJECT: Final = re.compile(rf"[!-~]{{1,{SUBJECT_CHARACTERS_MOST}}}", re.ASCII)
_REQUIRED: Final = ("exp", "iat", "sub", "iss", "aud")

TokenFault = Literal[
    "token_malformed", "token_algorithm", "token_key", "token_signature", "token_issuer",
    "token_audience", "token_claims", "token_expired", "token_early",
]  # fmt: skip


class TokenRefusedError(Exception):
    """A token is refused.

    Args:
        fault: Why, from a closed set.
        detail: The same in words, without a value of the token.
    """

    def __init__(self, fault: TokenFault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: TokenFault = fault
        self.detail = detail


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must have.

    Attributes:
        issuer: Its ``iss``, exactly.
        audience: One of its ``aud``, exactly.
        leeway: Difference between the issuer's clock and ours, in seconds.
        lifetime: Maximum seconds from ``iat`` to ``exp``.
        scopes_claim: Name of the claim with its rights.
        scopes: Scopes by value of that claim.
    """

    issuer: str
    audience: str
    leeway: float
    lifetime: float
    scopes_claim: str
    scopes: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a verified token states.

    Attributes:
        subject: Whom it is for: 1 to 128 printable ASCII characters without blanks.
        scopes: What it gives.
        begin: Its ``nbf``, or else ``iat``; seconds since the epoch.
        end: Its ``exp``.
        key: The key that verified it.
    """

    subject: str
    scopes: frozenset[str]
    begin: float
    end: float
    key: VerificationKey


class TokenVerifier:
    """Verifies tokens of one issuer; not for several threads at the same time.

    Args:
        rules: What a token must have.
        keys: The issuer's keys.
    """

    def __init__(self, rules: TokenRules, keys: TokenKeys) -> None:
        self._rules = rules
        self._keys = keys
        self._kept: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._signatures = jwt.PyJWT(
            {
                "require": list(_REQUIRED),
                # Judged here, by the same clock as all other limits.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            }
        )

    def kept(self, token: str, now: float) -> VerifiedToken | None:
        """Return a token that was verified before, if its key is still in use; else None.

        Raises:
            TokenRefusedError: It has expired meanwhile.
        """
        if len(token) > TOKEN_BYTES_MOST:
            return None
        digest = _digest(token)
        found = self._kept.get(digest)
        if found is None:
            return None
        if not self._keys.holds(found.key):
            del self._kept[digest]
            return None
        self._judge_time(found.begin, found.end, now)
        self._kept.move_to_end(digest)
        return found

    def verify(self, token: str, now: float) -> VerifiedToken:
        """Verify a token.

        Args:
            token: As sent.
            now: Seconds since the epoch.

        Raises:
            TokenRefusedError: It is refused.
            TokenKeysUnavailableError: The issuer's keys are not known now.
        """
        if len(token) > TOKEN_BYTES_MOST:
            raise TokenRefusedError("token_malformed", "the token is larger than 8 KiB")
        if _FORM.fullmatch(token) is None:
            raise TokenRefusedError("token_malformed", "the token is not a signed JWT")
        first, second, _ = token.split(".")
        header = _object(first)
        key = self._key(header)
        # Judged for duplicate names: PyJWT would take the last, another reader the first.
        _object(second)
        claims = self._verified(token, key, str(header["alg"]))
        begin, end = self._times(claims)
        self._judge_time(begin, end, now)
        found = VerifiedToken(self._subject(claims), self._scopes(claims), begin, end, key)
        self._kept[_digest(token)] = found
        if len(self._kept) > _KEPT_MOST:
            self._kept.popitem(last=False)
        return found

    def _key(self, header: Mapping[str, Any]) -> VerificationKey:
        kind, identity, algorithm = header.get("typ", "jwt"), header.get("kid"), header.get("alg")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenRefusedError("token_malformed", "the token is of another type")
        if "crit" in header or "b64" in header:
            raise TokenRefusedError("token_malformed", "the token asks for an unknown extension")
        if not isinstance(algorithm, str) or not isinstance(identity, str):
            raise TokenRefusedError("token_malformed", "the token names no key or no algorithm")
        key = self._keys.find(identity)
        if key is None:
            raise TokenRefusedError("token_key", "the issuer does not have the token's key")
        if algorithm not in key.algorithms:
            raise TokenRefusedError("token_algorithm", "the token's algorithm is not accepted")
        return key

    def _verified(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, Any]:
        try:
            return self._signatures.decode(
                token, key.key, algorithms=[algorithm],
                issuer=self._rules.issuer, audience=self._rules.audience,
            )  # fmt: skip
        except jwt.InvalidSignatureError:
            fault = TokenRefusedError("token_signature", "the token's signature is wrong")
        except jwt.InvalidIssuerError:
            fault = TokenRefusedError("token_issuer", "the token is of another issuer")
        except jwt.InvalidAudienceError:
            fault = TokenRefusedError("token_audience", "the token is for another audience")
        except jwt.MissingRequiredClaimError as error:
            fault = TokenRefusedError("token_claims", f"the token has no {error.claim}")
        except (jwt.PyJWTError, ValueError, TypeError):
            fault = TokenRefusedError("token_claims", "the token's claims are not valid")
        raise fault

    def _times(self, claims: Mapping[str, Any]) -> tuple[float, float]:
        made, end = _seconds(claims, "iat"), _seconds(claims, "exp")
        if end - made > self._rules.lifetime:
            raise TokenRefusedError("token_claims", "the token is valid for too long")
        begin = max(made, _seconds(claims, "nbf")) if "nbf" in claims else made
        return begin, end

    def _judge_time(self, begin: float, end: float, now: float) -> None:
        if now >= end + self._rules.leeway:
            raise TokenRefusedError("token_expired", "the token has expired")
        if now < begin - self._rules.leeway:
            raise TokenRefusedError("token_early", "the token is not valid yet")

    def _subject(self, claims: Mapping[str, Any]) -> str:
        subject = claims["sub"]
        if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
            raise TokenRefusedError(
                "token_claims", "sub is not 1 to 128 printable ASCII characters without blanks"
            )
        return subject

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        given = claims.get(self._rules.scopes_claim, "")
        values = given.split() if isinstance(given, str) else given
        if not isinstance(values, list) or len(values) > _SCOPE_VALUES_MOST:
            raise TokenRefusedError("token_claims", "the claim of scopes is not a list of texts")
        names = (each for each in values if isinstance(each, str))
        return frozenset(scope for name in names for scope in self._rules.scopes.get(name, ()))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _object(segment: str) -> dict[str, Any]:
    """Return the JSON object of a part of a token."""
    try:
        return parse(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (binascii.Error, ValueError):
        raise TokenRefusedError("token_malformed", "the token is not a signed JWT") from None


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise TokenRefusedError("token_claims", f"{name} is not a time in seconds")
    return float(value)
