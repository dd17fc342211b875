"""A gateway as a process of its own, to be killed: it asks for one transaction and waits.

Arguments: the settings as JSON, and the transaction as JSON. It prints the status of the answer.
"""

import asyncio
import json
import sys
import time

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.settings import Settings
from tests.support.serving.fake_scorers import request


async def main() -> None:
    """Ask, print, and wait to be killed."""
    settings = Settings(**json.loads(sys.argv[1]))
    async with DecisionService(settings, Deployment("fraud:1.0.0"), lambda _: None) as service:
        sent = request(json.loads(sys.argv[2]), arrived=time.perf_counter())
        response = await service.ask(sent)
        print(response.status, flush=True)  # noqa: T201 read by the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
