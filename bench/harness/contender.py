"""One contender in a separate process: imports, reports that it is ready, starts at a signal.

``python contender.py KIND [ARGUMENT...]``; the settings come from the environment. Imports are over
when ``ready`` is printed; SIGUSR1 starts it. KIND is one of: ``floor``; ``handwritten`` with a
bundle's directory; ``library`` with a LightGBM file, which then scores in the place of our kernels,
and the arguments of ``run``; ``schedule`` (a producer) with a rate and a number of events, and, for
labels, the hours after which they follow and the number of customers; ``module`` with a bench's own
module, whose ``prepare`` returns what to run, and its arguments; or a command of ``stream-scorer``
with its arguments.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

READY = "ready"


def _chosen(kind: str, arguments: list[str]) -> Callable[[], None]:
    """Import only what a kind needs: more would cost the small ones garbage collections."""
    if kind in {"floor", "handwritten"}:
        # scikit-learn's threads spin at their barriers by default: next to a busy core the
        # hand-written loop then fell from 79,000 to 8,000 events a second.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        from bench.harness import loops  # noqa: PLC0415 see the docstring
        from stream_scorer.settings import load_settings  # noqa: PLC0415

        if kind == "floor":
            return lambda: loops.pass_through(load_settings())
        return lambda: loops.handwritten(load_settings(), Path(arguments[0]))
    if kind == "schedule":
        return _schedule(float(arguments[0]), int(arguments[1]), *map(int, arguments[2:]))
    if kind == "module":
        run: Callable[[], None] = import_module(arguments[0]).prepare(arguments[1:])
        return run
    from stream_scorer.cli import main as stream_scorer  # noqa: PLC0415

    if kind == "library":
        from bench.harness.library import score_with  # noqa: PLC0415 see the docstring

        score_with(Path(arguments[0]))
        kind, arguments = "run", arguments[1:]
    sys.argv = ["stream-scorer", kind, *arguments]
    return stream_scorer


def _schedule(
    rate: float, count: int, label_hours: int | None = None, customers: int = 5_000
) -> Callable[[], None]:
    """Simulate now; the schedule begins with the first event sent."""
    from bench.harness.traffic import transactions  # noqa: PLC0415 see the caller
    from stream_scorer.producing.labels import send_with_labels  # noqa: PLC0415
    from stream_scorer.producing.transactions import open_feed  # noqa: PLC0415
    from stream_scorer.settings import load_settings  # noqa: PLC0415

    table = transactions(count, customers)

    def run() -> None:
        settings = load_settings()
        topic = settings.kafka.topics.transactions
        if label_hours is not None:
            delay_ms = label_hours * 3_600_000
            send_with_labels(settings.kafka, settings.registry, table, topic, delay_ms, rate)
            return
        with open_feed(settings.kafka, settings.registry, topic, rate) as feed:
            feed.send(table)

    return run


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    run = _chosen(sys.argv[1], sys.argv[2:])
    gc.collect()
    gc.freeze()
    print(READY, flush=True)
    signal.sigwait({signal.SIGUSR1})
    run()


if __name__ == "__main__":
    main()
