"""The client's loop: timers are looked at between every few events, and no event is lost."""

from __future__ import annotations

import asyncio
import gc
import selectors
import socket
import time

import pytest

from wattlane.measure.blocking import run_blocking
from wattlane.measure.fair_loop import AT_ONCE, FewAtATime, new_loop, no_collection

MANY, WORK_S = 200, 5e-4


async def storm() -> tuple[int, int]:
    """Make MANY sockets ready at once, each with some work; return how many came before a due timer, and all."""
    loop, seen, at_timer = asyncio.get_running_loop(), [], []
    pairs = [socket.socketpair() for _ in range(MANY)]

    def read(end: socket.socket) -> None:
        end.recv(1)
        seen.append(end)
        until_s = time.monotonic() + WORK_S
        while time.monotonic() < until_s:
            pass

    for ours, theirs in pairs:
        ours.setblocking(False)
        theirs.send(b"x")
        loop.add_reader(ours, read, ours)
    loop.call_later(0.001, lambda: at_timer.append(len(seen)))
    while len(seen) < MANY:
        await asyncio.sleep(0)
    for ours, theirs in pairs:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
    return (at_timer or [len(seen)])[0], len(seen)


def test_d12_a_timer_waits_for_few_of_the_sockets_that_are_ready_and_none_is_lost() -> None:
    waited, served = run_blocking(storm(), new_loop)
    assert served == MANY
    assert waited <= 3 * AT_ONCE
    plain, _ = run_blocking(storm())
    assert plain >= MANY - 1, "asyncio's own loop lets the timer wait for all of them"


def test_an_event_of_a_file_that_was_closed_meanwhile_is_dropped() -> None:
    chosen = FewAtATime()
    pairs = [socket.socketpair() for _ in range(2 * AT_ONCE)]
    for ours, theirs in pairs:
        theirs.send(b"x")
        chosen.register(ours, selectors.EVENT_READ, ours)
    first = chosen.select(1)
    assert len(first) == AT_ONCE
    handed = {key.fd for key, _ in first}
    late = [ours for ours, _ in pairs if ours.fileno() not in handed]
    chosen.unregister(late[0])
    chosen.modify(late[1], selectors.EVENT_WRITE, late[1])
    assert {key.fileobj for key, _ in chosen.select(1)} == set(late[2:])
    assert set(chosen.get_map()) >= {ours.fileno() for ours in late[2:]}
    chosen.close()
    for pair in pairs:
        for end in pair:
            end.close()


@pytest.mark.parametrize("was_on", [True, False])
def test_collection_is_off_inside_and_as_it_was_after(was_on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if was_on else gc.disable)()
    try:
        with no_collection():
            assert not gc.isenabled()
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()
