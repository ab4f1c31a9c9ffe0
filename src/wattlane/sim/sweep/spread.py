"""Where a sweep is worked out: threads of this process (kernels release the interpreter's lock), or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any, Protocol, TypeVar

from wattlane.core.cluster import connected
from wattlane.core.errors import MeasurementError
from wattlane.core.pool import workers

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Found = TypeVar("Found")
WAITING = 4  # tasks a cluster is given for each of its CPUs before one is waited for


class Spread(Protocol):
    """Spreads work over something."""

    def __call__(self, work: Callable[[Shared, Job], Found], shared: Shared, jobs: Sequence[Job], /) -> Iterator[Found]:
        """Call `work(shared, job)` for every job and yield what it returns, in any order."""
        ...


def in_threads(work: Callable[[Shared, Job], Found], shared: Shared, jobs: Sequence[Job], /) -> Iterator[Found]:
    """Work in threads of this process."""
    with workers() as pool:
        for done in as_completed([pool.submit(work, shared, job) for job in jobs]):
            yield done.result()


class OnRay:
    """Works in tasks of an existing Ray cluster, one CPU each; every node needs this version of wattlane.

    Raises:
        MissingExtraError: Ray is not installed.
        MeasurementError: the cluster cannot be reached.
    """

    def __init__(self, address: str, ray: Any = None) -> None:
        self._ray = connected(address, ray)

    def __call__(self, work: Callable[[Shared, Job], Found], shared: Shared, jobs: Sequence[Job], /) -> Iterator[Found]:
        """Submit jobs, some for each CPU at a time, and yield what they return as they end.

        Raises:
            MeasurementError: a task failed for a reason of the cluster; what ended before it has been yielded.
        """
        task = self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(work)
        sent = self._ray.put(shared)
        most = WAITING * max(int(self._ray.cluster_resources().get("CPU", 1)), 1)
        left, waiting = list(reversed(jobs)), list[Any]()
        while left or waiting:
            while left and len(waiting) < most:
                waiting.append(task.remote(sent, left.pop()))
            ready, waiting = self._ray.wait(waiting, num_returns=1)
            for reference in ready:
                yield self._result(reference)

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except Exception as error:
            cause = getattr(error, "cause", None)
            if cause is not None and type(cause).__module__.startswith("wattlane."):
                raise cause from None  # what is wrong with a point is wrong everywhere
            raise MeasurementError(
                f"a task of the Ray cluster failed ({type(error).__name__}: {str(error).strip().splitlines()[-1]}); "
                "run the same command again to go on"
            ) from error
