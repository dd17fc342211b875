"""Failed authentications per address, in bounded memory."""

from collections import OrderedDict
from typing import Final

from stream_scorer.serving.access.limits import TokenBucket

_PEERS_MOST: Final = 10_000
_MINUTE: Final = 60.0


class FailureLimit:
    """Counts failed authentications of each address.

    The address that failed least recently is forgotten first. An attacker with more addresses than
    are kept is not limited by this; no limit for single addresses would do that.

    Args:
        per_minute: Failures of an address per minute.
        peers_most: Addresses that are kept.
    """

    def __init__(self, per_minute: int, peers_most: int = _PEERS_MOST) -> None:
        self._per_minute = per_minute
        self._peers_most = peers_most
        self._peers: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait(self, peer: str, now: float) -> float:
        """Return in how many seconds an address may fail again; 0: now."""
        bucket = self._peers.get(peer)
        return 0.0 if bucket is None else bucket.wait(now)

    def note(self, peer: str, now: float) -> float:
        """Count a failure of an address.

        Args:
            peer: The address.
            now: Seconds of a clock that never goes back.

        Returns:
            0 if it was within the limit; else in how many seconds the next one will be.
        """
        bucket = self._peers.get(peer)
        if bucket is None:
            bucket = self._peers[peer] = TokenBucket(
                self._per_minute / _MINUTE, self._per_minute, now
            )
            if len(self._peers) > self._peers_most:
                self._peers.popitem(last=False)
        self._peers.move_to_end(peer)
        wait = bucket.wait(now)
        if wait == 0.0:
            bucket.take(now)
        return wait

    def __len__(self) -> int:
        return len(self._peers)
