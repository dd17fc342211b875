"""A bounded read reaches its end, or fails.

Such a read knows at its start the offset at which each partition ends, and stops only there. On a
busy machine, a while without records does not mean that the topic has no more.
"""

from collections.abc import Mapping

from stream_scorer.errors import UnavailableError

STALLED_SECONDS = 30.0
"""How long a read may wait without progress, seconds."""


class ReadLimit:
    """Ends a read with an error when it has made no progress for 30 s.

    Only the time that the read waits for the broker counts, not the time that its caller spends on
    the records.

    Args:
        topic: The topic.
        ends: By partition, the offset at which the read ends.
    """

    def __init__(self, topic: str, ends: Mapping[int, int]) -> None:
        self._topic = topic
        self._ends = ends
        self._left: int | None = None
        self._waited = 0.0

    def note(self, positions: Mapping[int, int], waited: float) -> None:
        """Note the read's progress after a poll.

        Args:
            positions: By partition, the next offset; a partition that is missing is at its end.
            waited: How long the poll waits when there are no records, s.

        Raises:
            UnavailableError: There was no progress for 30 s.
        """
        behind = {p: end for p, end in self._ends.items() if positions.get(p, end) < end}
        left = sum(end - positions[p] for p, end in behind.items())
        if self._left is None or left < self._left:
            self._left, self._waited = left, 0.0
            return
        self._waited += waited
        if behind and self._waited > STALLED_SECONDS:
            partition, end = min(behind.items())
            raise UnavailableError(
                f"topic {self._topic}: nothing could be read for {STALLED_SECONDS:.0f} s; "
                f"partition {partition} is at offset {positions[partition]} and ends at {end}",
                "check the brokers, and whether a transaction is open there; then try again",
            )
