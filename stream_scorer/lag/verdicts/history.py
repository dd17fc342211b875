"""What is remembered of one partition of one group."""

from collections import deque

from stream_scorer.lag.verdicts.append_times import LogEndCurve
from stream_scorer.lag.verdicts.sample import LagRules, LagSample
from stream_scorer.lag.verdicts.slowness import Slowness

_PAUSES = 10
_MARKERS_MOST = 10
"""Producers whose last transactions may have ended together: each leaves a marker."""
_EARLY = 0.8
"""Samples may come this part of an interval after each other and still count as one apart."""


class Cadence:
    """How long the pauses of a group, or of an upstream's transactions, usually last.

    A pause that ended by itself and lasted at least one sample is usual if there was another one:
    the second longest of the last ten counts. So one incident teaches nothing.

    Args:
        rules: For the interval and the factor.
        most: Longer pauses are incidents, seconds.
    """

    def __init__(self, rules: LagRules, most: float) -> None:
        self._rules = rules
        self._most = most
        self._pauses: deque[float] = deque(maxlen=_PAUSES)

    def ended(self, seconds: float) -> None:
        """Note a pause that ended by itself."""
        if seconds <= self._most:
            self._pauses.append(seconds)

    @property
    def patience(self) -> float:
        """How long a pause may last before it is judged, seconds."""
        floor = self._rules.interval * _EARLY
        usual = sorted(self._pauses)[-2:-1]
        return max([floor, *(self._rules.patience_factor * pause for pause in usual)])


class LagHistory:
    """The recent samples of one partition of one group, in bounded memory.

    Args:
        rules: The numbers of the rules.
        curve: The log end's curve of the partition, which its groups share; ``add`` does not
            change it.
        added: Whether the partition was added to its topic while it was observed.

    Attributes:
        samples: The last ``rules.window + 1`` complete ones, oldest first.
        last: The last one, complete or not; None before the first.
        silent_seconds: How long the committed offset has not moved although a record could be read
            at each sample.
        open_seconds: How long the last stable offset has not moved although a transaction was open
            at each sample.
        lost: Records deleted before the group read them.
        lost_time: When the last of them was seen.
        peak: The highest offset from which the group was rewound.
        rewound_time: When it was last rewound.
        first_time: Of the first sample.
        complete_count: Samples that could be judged.
        slowness: Whether the group keeps up.
    """

    def __init__(self, rules: LagRules, curve: LogEndCurve, *, added: bool = False) -> None:
        self.rules = rules
        self.curve = curve
        self.added = added
        self.samples: deque[LagSample] = deque(maxlen=rules.window + 1)
        self.last: LagSample | None = None
        self.commits = Cadence(rules, rules.pause_most)
        self.transactions = Cadence(rules, rules.transaction_most)
        self.silent_seconds = 0.0
        self.open_seconds = 0.0
        self.lost = 0
        self.lost_time = float("-inf")
        self.peak = 0
        self.rewound_time = float("-inf")
        self.first_time = 0.0
        self.slowness = Slowness(rules)
        self.complete_count = 0
        self._silent_since: float | None = None
        self._open_since: float | None = None
        self._lost_until = 0

    def add(self, sample: LagSample) -> None:
        """Note a sample; times ascend."""
        if self.last is None:
            self.first_time = sample.time
        before = self.samples[-1] if self.samples else None
        self.last = sample
        if not sample.complete:
            # What happens meanwhile is not known: neither a pause nor patience may come from it.
            self._silent_since = self._open_since = None
            self.silent_seconds = self.open_seconds = 0.0
            return
        self.complete_count += 1
        self._note_silence(before, sample)
        self._note_transaction(before, sample)
        self._note_loss(before, sample)
        self._note_rewind(before, sample)
        self.samples.append(sample)
        self.slowness.add(self.samples)

    def _note_silence(self, before: LagSample | None, sample: LagSample) -> None:
        moved = before is None or before.committed != sample.committed
        if moved and self.silent_seconds > 0 and self._silent_since is not None:
            self.commits.ended(sample.time - self._silent_since)
        if moved or sample.to_stable == 0:
            self._silent_since = None
        if self._silent_since is None and sample.to_stable > 0:
            self._silent_since = sample.time
        self.silent_seconds = sample.time - (self._silent_since or sample.time)

    def _note_transaction(self, before: LagSample | None, sample: LagSample) -> None:
        moved = before is None or before.stable != sample.stable
        if moved and self.open_seconds > 0 and self._open_since is not None:
            self.transactions.ended(sample.time - self._open_since)
        is_open = (sample.stable or 0) < (sample.high or 0)
        if moved or not is_open:
            self._open_since = None
        if self._open_since is None and is_open:
            self._open_since = sample.time
        self.open_seconds = sample.time - (self._open_since or sample.time)

    def _note_loss(self, before: LagSample | None, sample: LagSample) -> None:
        if (sample.high or 0) < self._lost_until:
            self._lost_until = 0  # the topic was made again
        if sample.committed is None or sample.start is None:
            return
        if before is None:
            # A group that commits the offset after its last record stays before the markers of
            # the last transactions: one in an old log, several in one that is empty now.
            markers = _MARKERS_MOST if sample.start == sample.high else 1
            if 0 < sample.start - sample.committed <= markers:
                self._lost_until = sample.start
        # Each deleted offset counts once, however often the group's position is seen behind it.
        if before is not None and before.readable is False and before.committed == sample.committed:
            # There was no record up to there, only markers.
            self._lost_until = max(self._lost_until, before.reach)
        known = max(sample.committed, self._lost_until)
        if sample.start > known:
            self.lost += sample.start - known
            self._lost_until = sample.start
            self.lost_time = sample.time

    def _note_rewind(self, before: LagSample | None, sample: LagSample) -> None:
        committed, high = sample.committed, sample.high or 0
        if committed is not None and committed > high:
            self.peak, self.rewound_time = committed, sample.time
        elif (
            before is not None
            and before.committed is not None
            and (committed is None or committed < before.committed)
        ):
            self.peak = max(before.committed, self.peak)
            self.rewound_time = sample.time
            self.samples.clear()  # rates across a rewind are of no use
