"""Deployed bundles are verified again while they decide: at a signal, and from time to time.

Whatever comes of it, the copy in memory goes on, as it was verified when it was loaded. What is
told is whether the next start would be refused.
"""

import threading
from queue import Empty, SimpleQueue

from stream_scorer.closing import Closing
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import Bundle, verify_again
from stream_scorer.telemetry import Listener, ModelVerified


class BundleWatch(Closing):
    """Verifies bundles on a thread of its own, until closed.

    Args:
        every_seconds: Between two times; 0: only when asked.
    """

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds or None
        # Its put is made for signal handlers, which may interrupt another put.
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._bundles: tuple[Bundle, ...] = ()

    def ask(self) -> None:
        """Have them verified now; safe in a signal handler, and before :meth:`begin`."""
        self._asked.put(True)

    def begin(self, listener: Listener) -> None:
        """Begin to verify what :meth:`add` gives.

        Args:
            listener: Told of each time, by bundle.
        """
        threading.Thread(
            target=self._run, args=(listener,), name="bundle-watch", daemon=True
        ).start()

    def add(self, bundle: Bundle, listener: Listener) -> None:
        """Take a bundle over that has just been loaded; safe from any thread.

        Args:
            bundle: Whose files.
            listener: Told that it is whole.
        """
        listener(ModelVerified(bundle.manifest.name, bundle.manifest.version, "start"))
        self._bundles = (*self._bundles, bundle)

    def remove(self, bundle: Bundle, listener: Listener) -> None:
        """Verify a bundle no longer, since it was unloaded; safe from any thread.

        Args:
            bundle: Which.
            listener: Told, so that nothing remains said against it.
        """
        self._bundles = tuple(each for each in self._bundles if each is not bundle)
        listener(ModelVerified(bundle.manifest.name, bundle.manifest.version, "unload"))

    def close(self) -> None:
        """End it. Does not wait: a store that hangs must not keep the process."""
        self._asked.put(False)

    def _run(self, listener: Listener) -> None:
        while True:
            try:
                goes_on, cause = self._asked.get(timeout=self._every_seconds), "signal"
            except Empty:
                goes_on, cause = True, "time"
            if not goes_on:
                return
            for bundle in self._bundles:
                name, version = bundle.manifest.name, bundle.manifest.version
                listener(ModelVerified(name, version, cause, _refusal(bundle)))


def _refusal(bundle: Bundle) -> str:
    """Return why a bundle's files are not what was loaded; empty when they are."""
    try:
        verify_again(bundle)
    except ModelError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 whatever keeps it from being verified is no pass
        return f"bundle {bundle.manifest.label}: {type(error).__name__}: {error}"
    return ""
