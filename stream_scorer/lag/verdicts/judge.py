"""The rules: what a group does in a partition, by its last samples.

Two samples decide nearly every verdict, so that it is right at most two intervals after a fault. No
rule uses the timestamp of a record: clocks that differ change no verdict.
"""

import math
from collections.abc import Iterable

from stream_scorer.lag.verdicts.history import LagHistory
from stream_scorer.lag.verdicts.sample import LagJudgement, LagSample, LagVerdict
from stream_scorer.lag.verdicts.slowness import committed_rate

_SAMPLES_LEAST = 2


def judge(history: LagHistory) -> LagJudgement:
    """Return what is concluded from a partition's samples so far.

    Args:
        history: With at least one sample.
    """
    sample = history.last
    if sample is None:
        raise ValueError("judge() needs a sample")
    if not sample.complete:
        why = sample.error or sample.doubt or "the broker did not answer for all offsets"
        known = sample.has_offsets
        return LagJudgement(
            LagVerdict.UNKNOWN,
            why,
            sample.time,
            sample.to_high if known else None,
            sample.to_stable if known else None,
            lost=history.lost,
            owner=sample.owner,
        )
    rate_in, rate_out = _rate_in(history), committed_rate(history.samples)
    verdict, reason = _verdict(history, sample, rate_out or 0.0)
    age, skew = _age(history, sample)
    return LagJudgement(
        verdict,
        reason,
        sample.time,
        sample.to_high,
        sample.to_stable,
        age,
        rate_in,
        rate_out,
        _drain_seconds(sample, verdict, rate_in, rate_out, history.rules.interval),
        history.lost,
        skew,
        sample.owner,
    )


def heaviest(verdicts: Iterable[LagVerdict]) -> LagVerdict:
    """Return the verdict of a group: the heaviest of its partitions; UNKNOWN without any."""
    order = list(LagVerdict)
    return min(verdicts, key=order.index, default=LagVerdict.UNKNOWN)


def _verdict(history: LagHistory, sample: LagSample, rate_out: float) -> tuple[LagVerdict, str]:
    """Return the first verdict that holds, with its reason."""
    return (
        _jumped(history, sample) or _blocked(history, sample) or _reading(history, sample, rate_out)
    )


def _jumped(history: LagHistory, sample: LagSample) -> tuple[LagVerdict, str] | None:
    """Return the verdict on an offset that changed in another way than by reading."""
    rules = history.rules
    window = max(rules.window * rules.interval, rules.report_least)
    # What a command does not take from the dead letters waits for retention to delete it.
    if sample.time - history.lost_time < window and not sample.on_demand:
        return LagVerdict.LOST, f"deleted before they were read: {history.lost:,} records"
    if sample.time - history.rewound_time < window:
        return LagVerdict.REWOUND, _rewound(sample, history.peak)
    return None


def _blocked(history: LagHistory, sample: LagSample) -> tuple[LagVerdict, str] | None:
    """Return the verdict on a group that does not move, although it has to."""
    if history.complete_count < _SAMPLES_LEAST and history.added:
        return LagVerdict.OK, "added since the last look"
    if history.complete_count < _SAMPLES_LEAST:
        return LagVerdict.UNKNOWN, "observed once; a verdict needs two samples"
    if sample.to_stable and history.silent_seconds >= history.commits.patience:
        return _silent(history, sample)
    if _hangs(history, sample):
        return LagVerdict.HANGING, (
            f"a transaction has been open for {history.open_seconds:.0f} s or longer at offset "
            f"{sample.stable}; offsets from there on that cannot be read: "
            f"{(sample.high or 0) - (sample.stable or 0):,}"
        )
    return None


def _reading(history: LagHistory, sample: LagSample, rate_out: float) -> tuple[LagVerdict, str]:
    """Return the verdict on a group that reads, or has nothing to read."""
    if sample.to_stable == 0:
        if sample.members or sample.memberless or _moved(history):
            return LagVerdict.OK, "nothing to read"
        return LagVerdict.EMPTY, "the group has no members, and there is nothing to read"
    if history.slowness.slow:
        return LagVerdict.SLOW, (
            f"{sample.to_stable:,} records are left, and they do not become fewer at "
            f"{rate_out:,.0f} records/s"
        )
    return LagVerdict.OK, f"{sample.to_stable:,} records to read"


def _moved(history: LagHistory) -> bool:
    """Return whether the group moved since the sample before: it may read without members."""
    return len({each.committed for each in list(history.samples)[-_SAMPLES_LEAST:]}) > 1


def _rewound(sample: LagSample, peak: int) -> str:
    if sample.committed is not None and sample.committed > (sample.high or 0):
        return f"committed {sample.committed} is after the log's end: the topic was made again"
    return f"committed {sample.next_offset} after {peak}: records are read again"


def _hangs(history: LagHistory, sample: LagSample) -> bool:
    """Return whether a transaction is open longer than usual, and the group waits for its end."""
    if history.open_seconds < history.transactions.patience:
        return False
    # A group that reads uncommitted records does not wait.
    return not sample.uncommitted


def _silent(history: LagHistory, sample: LagSample) -> tuple[LagVerdict, str]:
    """Return the verdict on a group that does not move although records can be read."""
    seconds, left = history.silent_seconds, sample.to_stable
    if sample.owner:
        return LagVerdict.STALLED, (
            f"{sample.owner} has committed nothing for {seconds:.0f} s or longer, although "
            f"{left:,} records can be read"
        )
    if sample.on_demand:
        return LagVerdict.OK, f"{left:,} records wait; a command reads them when someone runs it"
    if not sample.members:
        return LagVerdict.STOPPED, f"the group has no members; {left:,} records wait"
    since = sample.time - history.first_time
    if history.added and since < history.rules.adopt_seconds:
        return LagVerdict.OK, f"added {since:.0f} s ago; the members have not found it yet"
    return LagVerdict.STOPPED, f"no member owns the partition; {left:,} records wait"


def _age(history: LagHistory, sample: LagSample) -> tuple[float | None, float | None]:
    """Return the age of the oldest record that is not committed, and its timestamp's skew."""
    offset, high = sample.record_offset or sample.first_waiting, sample.high or 0
    if sample.to_stable == 0:
        # Records of an open transaction have an age, too: they cannot be read meanwhile.
        offset = max(offset, sample.reach)
    if offset >= high:
        return 0.0, None
    appended = history.curve.append_time(offset, sample.record_time)
    if appended is None:
        return None, None
    return max(sample.time - appended.time, 0.0), appended.skew


def _rate_in(history: LagHistory) -> float | None:
    samples = history.samples
    if not samples or samples[-1].time <= samples[0].time:
        return None
    appended = (samples[-1].high or 0) - (samples[0].high or 0)
    return max(appended, 0) / (samples[-1].time - samples[0].time)


def _drain_seconds(
    sample: LagSample,
    verdict: LagVerdict,
    rate_in: float | None,
    rate_out: float | None,
    interval: float,
) -> float | None:
    if verdict is LagVerdict.HANGING:
        return math.inf
    if sample.to_stable == 0:
        return 0.0
    if rate_in is None or rate_out is None:
        return None
    shrinks = rate_out > rate_in
    # A group that keeps up always has some records in its hands: their number only fluctuates.
    if verdict is LagVerdict.OK and (not shrinks or sample.to_stable <= rate_out * interval):
        return None
    return sample.to_stable / (rate_out - rate_in) if shrinks else math.inf
