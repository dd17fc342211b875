"""Verifies the bundles of a running scorer again: at a signal, and periodically.

The copy in memory continues to decide, whatever the result: it was verified when it was loaded. The
result shows whether the next start would be refused.
"""

import threading
from queue import Empty, SimpleQueue

from stream_scorer.closing import Closing
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import Bundle, verify_again
from stream_scorer.telemetry import Listener, ModelVerified


class BundleWatch(Closing):
    """Verifies bundles on a separate thread, until closed.

    Args:
        every_seconds: Interval between two verifications; 0: only on request.
    """

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds or None
        # Its ``put`` is reentrant: a signal handler may interrupt another ``put``.
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._bundles: tuple[Bundle, ...] = ()

    def ask(self) -> None:
        """Request a verification now; safe in a signal handler, and before :meth:`begin`."""
        self._asked.put(True)

    def begin(self, listener: Listener) -> None:
        """Start to verify the bundles of :meth:`add`.

        Args:
            listener: Notified of each verification of a bundle.
        """
        threading.Thread(
            target=self._run, args=(listener,), name="bundle-watch", daemon=True
        ).start()

    def add(self, bundle: Bundle, listener: Listener) -> None:
        """Add a bundle that has just been loaded; safe from any thread.

        Args:
            bundle: The bundle.
            listener: Notified that the bundle is valid.
        """
        listener(_verified(bundle, "start"))
        self._bundles = (*self._bundles, bundle)

    def remove(self, bundle: Bundle, listener: Listener) -> None:
        """Stop verifying a bundle that was unloaded; safe from any thread.

        Args:
            bundle: The bundle.
            listener: Notified, so that no failure of the bundle remains reported.
        """
        self._bundles = tuple(each for each in self._bundles if each is not bundle)
        listener(_verified(bundle, "unload"))

    def close(self) -> None:
        """End the thread, without a wait: a store that hangs must not keep the process alive."""
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


def _verified(bundle: Bundle, cause: str) -> ModelVerified:
    """Return the event of a bundle that is loaded or unloaded."""
    manifest, signer = bundle.manifest, bundle.seal.signer
    return ModelVerified(
        manifest.name,
        manifest.version,
        cause,
        content_hash=manifest.content_hash,
        signer="unsigned" if signer is None else str(signer),
    )


def _refusal(bundle: Bundle) -> str:
    """Return why a bundle's files differ from what was loaded; empty if they do not."""
    try:
        verify_again(bundle)
    except ModelError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 any error is a failed verification
        return f"bundle {bundle.manifest.label}: {type(error).__name__}: {error}"
    return ""
