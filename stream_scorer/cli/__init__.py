"""The command line: one small file per command group, no logic."""

import atexit
import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line as this process.

    An interrupt, even while it loads, shows no stack trace.
    """
    ended: list[SystemExit] = []
    atexit.register(_end_despite_clients, ended)
    try:
        _run()
    except SystemExit as end:
        ended.append(end)
        raise


def _run() -> None:
    try:
        from stream_scorer.cli.main import main as run  # noqa: PLC0415 loading takes a second

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _end_despite_clients(ended: Sequence[SystemExit]) -> None:
    """End the process immediately, with its own exit code, if clients of librdkafka are open.

    A client is open whose call never returned, or whose command failed. Its threads would use what
    OpenSSL's own exit handler frees, and a segmentation fault would take the exit code's place.

    Args:
        ended: How the command ended, if it has.
    """
    if "confluent_kafka" not in sys.modules:
        return
    from stream_scorer.errors import UnavailableError  # noqa: PLC0415 see above
    from stream_scorer.kafka.client.library import library  # noqa: PLC0415 see above

    try:
        if not library().thread_cnt():
            return
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, UnavailableError):
        return  # the interpreter reports an output that fails; without the library nothing is open
    code = ended[0].code if ended else 1
    os._exit(code if isinstance(code, int) else int(code is not None))
