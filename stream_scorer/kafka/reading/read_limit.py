"""The limit of a read that has an end: it reaches the end, or it ends with an error.

A read that has an end knows, when it begins, the offset at which each partition ends. It stops at
those offsets and nowhere before: that no record came for a while says nothing about the topic on a
busy machine.
"""

from collections.abc import Mapping

from stream_scorer.errors import UnavailableError

STALLED_SECONDS = 30.0
"""How long a read may wait without gaining an offset."""


class ReadLimit:
    """Ends a read with an error when it has gained no offset for 30 s.

    Only the seconds that the read waits for the broker count. What its caller does with the records
    meanwhile takes none of them.

    Args:
        topic: What is read.
        ends: By partition, the offset at which the read ends.
    """

    def __init__(self, topic: str, ends: Mapping[int, int]) -> None:
        self._topic = topic
        self._ends = ends
        self._left: int | None = None
        self._waited = 0.0

    def note(self, positions: Mapping[int, int], waited: float) -> None:
        """Note how far the read is after a poll.

        Args:
            positions: By partition, the next offset; a partition that is missing is at its end.
            waited: How long the poll waits when nothing comes, s.

        Raises:
            UnavailableError: No offset was gained for 30 s.
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
