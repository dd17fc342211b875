"""Calls from threads reach the event loop: each once, in order, together if they come together."""

import asyncio
import threading

from stream_scorer.processes.mailbox import Mailbox


def test_calls_of_several_threads_arrive_in_their_order() -> None:
    async def main() -> dict[int, list[int]]:
        mailbox = Mailbox(asyncio.get_running_loop())
        found: dict[int, list[int]] = {thread: [] for thread in range(4)}
        every = asyncio.Event()

        def take(thread: int, number: int) -> None:
            found[thread].append(number)
            if sum(map(len, found.values())) == 4_000:
                every.set()

        def send(thread: int) -> None:
            for number in range(1_000):
                mailbox.post(take, thread, number)

        threads = [threading.Thread(target=send, args=(each,)) for each in range(4)]
        for each in threads:
            each.start()
        await asyncio.wait_for(every.wait(), 30)
        for each in threads:
            each.join()
        return found

    found = asyncio.run(main())
    assert all(numbers == list(range(1_000)) for numbers in found.values())


def test_a_closed_loop_is_not_woken() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    called: list[int] = []
    mailbox.post(called.append, 1)
    assert called == []
