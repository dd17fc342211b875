"""When a stream can be judged: when the histories behind its values are complete."""


def learning_until(first_start_ms: int, history_from_ms: int | None, reach_ms: int) -> int:
    """Return the earliest start of a window whose values have complete histories, ms.

    A new version is not blind: its features come from the same histories as those of the version
    before it, so the start is that of the input and not of the version.

    >>> learning_until(1_000, None, 500)
    1500
    >>> learning_until(1_000, 0, 500)
    1000

    Args:
        first_start_ms: Start of the first window of the input that was seen.
        history_from_ms: Time from which histories are complete, if a person knows it: before it, a
            scorer read older input, or its state was built from files.
        reach_ms: How far back a value of the stream looks.
    """
    covered = first_start_ms + reach_ms
    if history_from_ms is not None:
        covered = min(covered, history_from_ms)
    return max(first_start_ms, covered)
