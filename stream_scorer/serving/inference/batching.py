"""Dynamic batches: requests that arrive while a batch is computed are joined into the next one.

A request that is estimated to be quick is computed immediately, on the event loop: the way to a
thread and back costs more than its computation. All others are computed in a thread, one batch of a
model at a time. There is no timer: a lone request never waits for company. A row has the same bits
in any batch, so joining changes no result.
"""

import asyncio
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.results import RowResults
from stream_scorer.serving.inference.served_model import ServedModel
from stream_scorer.telemetry import Listener, ModelFailed

Float64 = NDArray[np.float64]

INLINE_SECONDS: Final = 200e-6
"""Estimated time up to which a request is computed on the event loop."""


@dataclass(frozen=True, slots=True)
class _WaitingRows:
    """The rows of a request, and where its results go."""

    rows: Float64
    explain: bool
    results: "asyncio.Future[RowResults]"


class Batcher:
    """Computes the requests of one model.

    Args:
        model: The model.
        executor: Its threads compute the batches.
        rows_most: Maximum rows of a batch of several requests.
        listener: Told about rows for which the model failed.
        inline_seconds: Estimated time up to which a request is computed on the event loop.
    """

    def __init__(
        self,
        model: ServedModel,
        executor: Executor,
        rows_most: int,
        listener: Listener,
        inline_seconds: float = INLINE_SECONDS,
    ) -> None:
        self._model = model
        self._executor = executor
        self._rows_most = rows_most
        self._listener = listener
        self._inline_seconds = inline_seconds
        self._waiting: deque[_WaitingRows] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def results(self, rows: Float64, *, explain: bool) -> RowResults:
        """Return what the model decides for the rows of a request.

        Args:
            rows: float64[n, m].
            explain: Whether the reasons are needed.
        """
        if self._model.seconds_for(len(rows)) <= self._inline_seconds:
            return self._reported(self._model.compute(rows, explain=explain))
        loop = asyncio.get_running_loop()
        mine = _WaitingRows(rows, explain, loop.create_future())
        self._waiting.append(mine)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await mine.results

    async def finish(self) -> None:
        """Wait until no batch is computed."""
        while self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        try:
            while batch := self._next_batch():
                await self._compute(batch)
        finally:
            self._worker = None

    def _next_batch(self) -> list[_WaitingRows]:
        """Take the waiting requests in their order, up to the maximum of rows."""
        batch: list[_WaitingRows] = []
        rows = 0
        while self._waiting:
            first = self._waiting[0]
            if first.results.done():  # its client is gone
                self._waiting.popleft()
                continue
            if batch and rows + len(first.rows) > self._rows_most:
                break
            batch.append(self._waiting.popleft())
            rows += len(first.rows)
        return batch

    async def _compute(self, batch: list[_WaitingRows]) -> None:
        rows = batch[0].rows
        if len(batch) > 1:
            rows = np.concatenate([waiting.rows for waiting in batch])
        explain = any(waiting.explain for waiting in batch)
        compute = partial(self._model.compute, rows, explain=explain)
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, compute)
        except Exception as error:  # noqa: BLE001 each request of the batch gets it
            for waiting in batch:
                if not waiting.results.done():
                    waiting.results.set_exception(error)
            return
        self._reported(results)
        begin = 0
        for waiting in batch:
            end = begin + len(waiting.rows)
            if not waiting.results.done():
                waiting.results.set_result(results.part(begin, end))
            begin = end

    def _reported(self, results: RowResults) -> RowResults:
        if results.failed:
            model = self._model
            self._listener(ModelFailed(model.name, model.version, results.failed, results.failure))
        return results
