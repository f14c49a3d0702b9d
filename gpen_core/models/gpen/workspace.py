"""Memory and threads of the fast generator: buffers that are used again, and rows shared out among the cores."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor


class Workspace:
    """Float32 buffers by name, kept between calls: fresh memory costs more than the arithmetic done on it."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Give the buffer `name` in `shape`, undefined; whoever took this name before must be done with it."""
        count = torch.Size(shape).numel()
        if name not in self._buffers or self._buffers[name].numel() < count:
            self._buffers.pop(name, None)
            self._buffers[name] = torch.empty(count)
        return self._buffers[name][:count].view(shape)

    @property
    def nbytes(self) -> int:
        """Memory held now."""
        return sum(buffer.nbytes for buffer in self._buffers.values())


class Crew:
    """As many threads as torch uses, each with a workspace of its own.

    torch divides every single operation among its threads, and they wait for each other after each one. With hundreds
    of short operations it is better that each thread goes through the whole work on its own rows.
    """

    def __init__(self) -> None:
        self.space = Workspace()
        self._spaces: list[Workspace] = []

    def share(self, task: Callable[[Workspace, int, int], None]) -> None:
        """Call `task(workspace, index, count)` once on each of `count` threads, and wait for all.

        Raises:
            Exception: what the task raised first.
        """
        count = torch.get_num_threads()
        while len(self._spaces) < count:
            self._spaces.append(Workspace())
        if count == 1:
            task(self._spaces[0], 0, 1)
            return

        def call(index: int) -> None:
            with torch.inference_mode():
                task(self._spaces[index], index, count)

        for _ in _threads(count).map(call, range(count)):
            pass

    @property
    def nbytes(self) -> int:
        """Memory held now."""
        return self.space.nbytes + sum(space.nbytes for space in self._spaces)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Start threads on which torch's operations do not divide themselves further."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="gpen", initializer=torch.set_num_threads, initargs=(1,))
    together = threading.Barrier(count)
    list(pool.map(lambda _: together.wait(), range(count)))
    # The number of threads belongs to each thread, but a new one inherits what was set last, anywhere.
    torch.set_num_threads(count)
    return pool
