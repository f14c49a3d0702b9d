"""How long networks stay in main memory: as long as ComfyUI keeps a node or a result of theirs in its caches.

ComfyUI's own networks live in what its executor caches, and go when it drops its caches, e.g. on POST /free with
free_memory. Ours do the same: the manager that holds them belongs to a lease, which is held by the nodes that use
networks (kept while they are in the workflow, whatever their settings), by their pictures and by what the loaders give.
When the last of these goes, the lease ends and the manager forgets its networks; the next one who asks begins anew.
"""

import threading
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet, finalize

from comfy_api.latest import io

from ..gpen_core.models.manager import ModelManager


@dataclass(frozen=True, eq=False)
class Lease:
    """Whoever holds it keeps all networks of the pack loaded.

    Attributes:
        manager: loads, holds and shares the networks.
    """

    manager: ModelManager = field(default_factory=ModelManager)

    def __post_init__(self) -> None:
        """Have the manager forget its networks when nobody holds the lease any more."""
        finalize(self, self.manager.release).atexit = False


_RUNNING: WeakSet[Lease] = WeakSet()
_LOCK = threading.Lock()


def current_lease() -> Lease:
    """Give the lease that somebody holds, or a new one."""
    with _LOCK:
        for lease in _RUNNING:
            return lease
        lease = Lease()
        _RUNNING.add(lease)
        return lease


def hold_with(thing: Any) -> None:  # noqa: ANN401 (whatever can be weakly referenced)
    """Keep the networks as long as `thing` lives.

    Nothing is written into `thing`: other packs may copy and save it.
    """
    finalize(thing, _no_longer, current_lease()).atexit = False


def _no_longer(lease: Lease) -> None:
    """Let go of a lease, which being called with does."""


class NetworkNode(io.ComfyNode):
    """A node that uses networks; ComfyUI keeps one object of it for each place in the workflow."""

    def __init__(self) -> None:
        """Hold the lease as long as ComfyUI holds the node."""
        super().__init__()
        hold_with(self)
