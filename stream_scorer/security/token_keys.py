"""A token issuer's public keys: read from its JWKS (RFC 7517), and kept over an outage.

Each key is bound to its algorithms, and verifies only signatures of its own type: an RSA key never
serves as the secret of an HMAC. So an attacker who knows the public key cannot sign with it. Keys
of other types are left out, among them symmetric and private ones.

The keys are read again by age and at an unknown key id. A thread reads them, because a request must
not wait for another server.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWKError
from jwt.exceptions import PyJWTError

from stream_scorer.clocks import Clock, since_boot
from stream_scorer.closing import Closing
from stream_scorer.errors import StreamScorerError
from stream_scorer.security.canonical_json import parse

DOCUMENT_BYTES_MOST: Final = 256 * 1024
_KEYS_MOST: Final = 64
_KEY_ID_CHARACTERS: Final = 256
_RSA_BITS: Final = (2_048, 8_192)
"""Shorter ones are weak, and each signature of a longer one takes milliseconds."""
_RSA_EXPONENT_BITS: Final = 32
_OF_TYPE: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("RSA", ""): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_PRIVATE: Final = frozenset({"d", "k", "p", "q"})
_SOON: Final = 1.0
_CLOSE_SECONDS: Final = 15.0

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A key that verifies signatures.

    Attributes:
        id: Its ``kid``.
        key: The public key.
        algorithms: Those whose signatures it may verify.
    """

    id: str
    key: PublicKey
    algorithms: frozenset[str]


def read_jwks(data: bytes, allowed: Collection[str]) -> dict[str, VerificationKey]:
    """Return the usable keys of a document by their ids.

    Args:
        data: The document.
        allowed: Algorithms that the settings accept.

    Raises:
        ValueError: Not such a document, too large, without a usable key, or with two of one id.
    """
    if len(data) > DOCUMENT_BYTES_MOST:
        raise ValueError("is larger than 256 KiB")
    entries = parse(data).get("keys")
    if not isinstance(entries, list):
        raise ValueError("has no list of keys")  # noqa: TRY004 what is wrong is the document
    if len(entries) > _KEYS_MOST:
        raise ValueError(f"has more than {_KEYS_MOST} keys")
    found: dict[str, VerificationKey] = {}
    for entry in entries:
        key = _usable(entry, allowed)
        if key is not None and found.setdefault(key.id, key) is not key:
            raise ValueError("has two keys with the same kid")
    if not found:
        raise ValueError("has no key that may verify signatures")
    return found


def _usable(entry: Any, allowed: Collection[str]) -> VerificationKey | None:
    """Return a key that may verify signatures; None for another."""
    if not isinstance(entry, dict) or not _PRIVATE.isdisjoint(entry):
        return None
    identity, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(identity, str) or not 0 < len(identity) <= _KEY_ID_CHARACTERS:
        return None
    if entry.get("use", "sig") != "sig" or "verify" not in operations:
        return None
    curve = entry.get("crv", "")
    algorithms = _OF_TYPE.get((str(entry.get("kty")), str(curve)), frozenset())
    algorithms &= {str(entry["alg"])} if "alg" in entry else algorithms
    algorithms &= frozenset(allowed)
    key = _public_key(entry, algorithms)
    return None if key is None else VerificationKey(identity, key, algorithms)


def _public_key(entry: dict[str, Any], algorithms: frozenset[str]) -> PublicKey | None:
    if not algorithms:
        return None
    try:
        key: Any = PyJWK(entry, min(algorithms)).key
    except (PyJWTError, PyJWKError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey):
        exponent = key.public_numbers().e
        fits = _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]
        return key if fits and exponent.bit_length() <= _RSA_EXPONENT_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey) else None


class TokenKeysUnavailableError(Exception):
    """The issuer's keys are not known now; the same token may be accepted later.

    Args:
        seconds: When it makes sense to try again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the issuer's keys are not known; try again in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class KeyAges:
    """When keys are read again, in seconds.

    Attributes:
        fresh: Age at which they are read again.
        pause: Minimum time between two readings that an unknown key id or a failure causes.
        stale: Age at which they are no longer used.
    """

    fresh: float
    pause: float
    stale: float


class TokenKeys(Closing):
    """The keys of one issuer.

    Args:
        read: Reads them; may take seconds.
        ages: When.
        report: Is called after each reading, with the number of keys, and with the error if it
            failed.
        clock: Seconds, monotonic, which count suspension.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, VerificationKey]],
        ages: KeyAges,
        report: Callable[[int, str], None],
        clock: Clock = since_boot,
    ) -> None:
        self._read = read
        self._ages = ages
        self._report = report
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._reading = False
        self._wanted = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def find(self, identity: str) -> VerificationKey | None:
        """Return the key with an id; None if the issuer does not have it.

        An unknown id makes the thread read the keys again, unless it did so a short time ago.

        Raises:
            TokenKeysUnavailableError: The keys are not known or too old, or are being read.
        """
        now = self._clock()
        if self._read_at is None or now - self._read_at >= self._ages.stale:
            self._want(now)
            raise TokenKeysUnavailableError(_SOON if self._wanted.is_set() else self._ages.pause)
        found = self._keys.get(identity)
        if found is None and (self._want(now) or self._reading):
            raise TokenKeysUnavailableError(_SOON)
        return found

    def holds(self, key: VerificationKey) -> bool:
        """Return whether a key that was found earlier is still in use."""
        return (
            self._keys.get(key.id) is key
            and self._read_at is not None
            and self._clock() - self._read_at < self._ages.stale
        )

    def _want(self, now: float) -> bool:
        """Have the keys read now unless they were a short time ago; return whether they will be."""
        if self._tried_at is None or now - self._tried_at >= self._ages.pause:
            self._wanted.set()
        return self._wanted.is_set()

    def refresh(self) -> None:
        """Read the keys now; the earlier ones stay in use if that fails."""
        self._reading = True
        self._tried_at = self._clock()
        self._wanted.clear()
        try:
            keys = self._read()
        except (StreamScorerError, ValueError) as error:
            self._report(len(self._keys), str(error))
        else:
            # A key that did not change stays the same object, so that verified tokens stay valid.
            self._keys = {
                each.id: known if (known := self._same(each)) is not None else each
                for each in keys.values()
            }
            self._read_at = self._clock()
            self._report(len(keys), "")
        finally:
            self._reading = False

    def _same(self, key: VerificationKey) -> VerificationKey | None:
        known = self._keys.get(key.id)
        if known is None or known.algorithms != key.algorithms or known.key != key.key:
            return None
        return known

    def start(self) -> None:
        """Begin to read the keys again in a thread, until closed."""
        self._thread = threading.Thread(target=self._run, name="token-keys", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            self._wanted.wait(self.seconds_left())
            if not self._closing:
                self.refresh()

    def seconds_left(self) -> float:
        """Return in how many seconds the keys are read again if no token asks for it."""
        now = self._clock()
        failed = self._read_at is None or (self._tried_at or 0.0) > self._read_at
        since = self._tried_at if failed else self._read_at
        pause = self._ages.pause if failed else self._ages.fresh
        return 0.0 if since is None else max(since + pause - now, 0.0)

    def close(self) -> None:
        """End the thread; one that waits for the issuer is left, and ends with the process."""
        self._closing = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS if not self._reading else 0.0)
