"""Times contenders in interleaved rounds."""

import gc
import time
from collections.abc import Callable, Mapping


def measure(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round.

    The rounds are interleaved, and each starts with another contender, so that no contender always
    benefits from a warm cache.

    Args:
        contenders: By name.
        rounds: How many.
        clock: Tells seconds.
    """
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            gc.collect()
            started = clock()
            contenders[name]()
            seconds[name].append(clock() - started)
    return seconds
