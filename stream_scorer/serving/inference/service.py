"""The inference service: loaded models, requests in flight, batches. It knows no binding."""

import asyncio
import os
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as release_of
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model
from stream_scorer.serving.inference.batching import Batcher
from stream_scorer.serving.inference.binary_data import EXTENSION
from stream_scorer.serving.inference.refusals import InferenceRefused, RefusalKind, shown
from stream_scorer.serving.inference.results import RowResults
from stream_scorer.serving.inference.served_model import ServedModel
from stream_scorer.serving.settings.inference import Inference
from stream_scorer.telemetry import Listener

Float64 = NDArray[np.float64]

SERVER_NAME: Final = "stream-scorer"
EXTENSIONS: Final = (EXTENSION,)
PLATFORM: Final = "stream-scorer_bundle"
"""``<project>_<format>``, as the protocol writes platforms."""
RETRY_SECONDS: Final = 1
"""When a client that was refused as busy may ask again."""


class ConcurrencyLimit:
    """The bound on requests in flight; a context manager for one request.

    Args:
        most: Maximum requests between arrival and answer.
    """

    def __init__(self, most: int) -> None:
        self.in_flight = 0
        self.open = False
        self._most = most

    def __enter__(self) -> None:
        if not self.open:
            raise InferenceRefused(RefusalKind.BUSY, "the server is not ready")
        if self.in_flight >= self._most:
            raise InferenceRefused(RefusalKind.BUSY, "too many requests at the same time")
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1


class InferenceService:
    """Scores feature vectors with loaded models. Used as ``async with``: ready while inside.

    Args:
        models: At least one, each name and version once.
        settings: Limits.
        listener: Told about rows for which a model failed.

    Raises:
        ValueError: There is no model, or one is given twice.
    """

    def __init__(
        self,
        models: Sequence[Model],
        settings: Inference,
        listener: Listener = lambda _: None,
    ) -> None:
        self.settings = settings
        self.admission = ConcurrencyLimit(settings.concurrent)
        self.release = release_of("stream-scorer")
        self._executor = ThreadPoolExecutor(
            max_workers=max(1, min(len(models), os.cpu_count() or 1)),
            thread_name_prefix="inference",
        )
        self._batchers: dict[ServedModel, Batcher] = {}
        self._by_name: dict[str, dict[str, ServedModel]] = {}
        for model in sorted(models, key=_version_key):
            served = ServedModel(model, settings.rows_max)
            versions = self._by_name.setdefault(model.name, {})
            if model.version in versions:
                raise ValueError(f"model {model.name}:{model.version} is given twice")
            versions[model.version] = served
            self._batchers[served] = Batcher(served, self._executor, settings.rows_max, listener)
        if not self._by_name:
            raise ValueError("no model is given")

    async def __aenter__(self) -> Self:
        for model in self._batchers:
            await asyncio.to_thread(model.measure)
        self.admission.open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.admission.open = False
        for batcher in self._batchers.values():
            await batcher.finish()
        await asyncio.to_thread(self._executor.shutdown)

    @property
    def ready(self) -> bool:
        """Whether all models answer requests."""
        return self.admission.open

    def models(self) -> tuple[ServedModel, ...]:
        """Return the models, by name and ascending version."""
        return tuple(model for versions in self._by_name.values() for model in versions.values())

    def find(self, name: str, version: str | None) -> ServedModel:
        """Return a model.

        Args:
            name: Its name.
            version: Its version; None or empty: the highest that is loaded.

        Raises:
            InferenceRefused: It is not loaded.
        """
        versions = self._by_name.get(name)
        if versions is None:
            raise InferenceRefused(RefusalKind.UNKNOWN_MODEL, f"unknown model {shown(name)}")
        if not version:
            return next(reversed(versions.values()))
        found = versions.get(version)
        if found is None:
            raise InferenceRefused(
                RefusalKind.UNKNOWN_MODEL, f"unknown version {shown(version)} of {shown(name)}"
            )
        return found

    def versions(self, name: str) -> list[str]:
        """Return the loaded versions of a loaded model, ascending."""
        return list(self._by_name[name])

    def infer(self, model: ServedModel, rows: Float64, *, explain: bool) -> Awaitable[RowResults]:
        """Return what a model decides for the rows of an admitted request.

        Args:
            model: From :meth:`find`.
            rows: float64[n, m].
            explain: Whether the reasons are needed.
        """
        return self._batchers[model].results(rows, explain=explain)


def _version_key(model: Model) -> tuple[str, tuple[int, ...]]:
    return model.name, tuple(int(part) for part in model.version.split("."))
