"""One cache for all networks: a file is loaded once, shared by all who ask, and leaves the device after each run.

    models = shared_manager()
    restorer = models.restorer("GPEN-BFR-512", device="cuda")  # loaded now, or the one that is held already
    with models.in_use(restorer):                               # on its device inside the block
        restored = restorer(crops)
    models.release()                                            # all of them go, and memory falls back

Two requests get the same model if role, file (path, length, time of change), type and device are the same; change any
of them and another one runs. A model that was let go of while a caller still holds it is given again. A host that
places weights itself asks `get` for whatever it wraps a model in, and leaves `in_use` alone: the manager then only
holds and shares.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from ..memory import empty_caches, return_free_memory
from .content import FileIdentity
from .descriptor import Restorer, Upscaler
from .load import EMBEDDED_RESTORER, load_restorer, load_upscaler
from .places import resolve_source
from .retinaface import FaceDetector, load_detector
from .retinaface.load import EMBEDDED as EMBEDDED_DETECTOR

logger = logging.getLogger(__name__)

ModelT = TypeVar("ModelT")

Policy: TypeAlias = Literal["keep", "offload", "drop"]
"""What becomes of a model when its last user leaves: it stays on the device, moves to the CPU, or is forgotten."""

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class ModelKey:
    """What makes two requests the same.

    Attributes:
        role: what the model is for, e.g. "restorer"; keeps loaders apart that read the same file.
        file: the weights.
        dtype: what it computes in.
        device: where it runs.
    """

    role: str
    file: FileIdentity
    dtype: torch.dtype
    device: torch.device


@runtime_checkable
class _Movable(Protocol):
    def to(self, *, device: torch.device) -> object: ...


@dataclass(eq=False)
class _Slot:
    """The place of one key; `model` is None until it has been loaded."""

    loading: threading.Lock = field(default_factory=threading.Lock)
    model: Any = None


@dataclass(eq=False)
class _Residence:
    """Where a model runs and how many use it now."""

    device: torch.device
    users: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


class ModelManager:
    """Holds, shares and places models; safe to use from several threads.

    Args:
        policy: what becomes of a model when its last user leaves `in_use`. With "offload", the default, and "drop" no
            memory of a GPU stays allocated between runs.
        limit: how many models are held; the one asked for longest ago goes first.
    """

    def __init__(self, policy: Policy = "offload", limit: int = 8) -> None:
        self.policy: Policy = policy
        self._limit = limit
        self._lock = threading.RLock()
        self._slots: OrderedDict[ModelKey, _Slot] = OrderedDict()
        self._alive: WeakValueDictionary[ModelKey, Any] = WeakValueDictionary()
        self._residences: WeakKeyDictionary[Any, _Residence] = WeakKeyDictionary()

    def restorer(
        self,
        source: str | Path | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Restorer:
        """Give a restorer; it is on the CPU until `in_use` brings it to its device.

        Args:
            source: a path or a name of the catalogue; None for the embedded one.
            device: where it runs.
            dtype: what it computes in.

        Raises:
            WeightsNotFoundError, UnsupportedWeightsError: as `load_restorer` does.
        """
        path = EMBEDDED_RESTORER if source is None else resolve_source(source)
        return self.get("restorer", load_restorer, path, device=device, dtype=dtype)

    def detector(
        self,
        source: str | Path | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> FaceDetector:
        """Give a face detector; it is on the CPU until `in_use` brings it to its device.

        Args:
            source: a path or a name of the catalogue; None for the embedded one.
            device: where it runs.
            dtype: what it computes in.

        Raises:
            WeightsNotFoundError, UnsupportedWeightsError, MissingPackageError: as `load_detector` does.
        """
        path = EMBEDDED_DETECTOR if source is None else resolve_source(source)
        return self.get("detector", load_detector, path, device=device, dtype=dtype)

    def upscaler(
        self,
        source: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Upscaler:
        """Give an upscaler; it is on the CPU until `in_use` brings it to its device.

        Args:
            source: a path or a name of the catalogue.
            device: where it runs.
            dtype: what it computes in.

        Raises:
            WeightsNotFoundError, UnsupportedWeightsError, MissingPackageError: as `load_upscaler` does.
        """
        return self.get("upscaler", load_upscaler, resolve_source(source), device=device, dtype=dtype)

    def get(
        self,
        role: str,
        load: Callable[..., ModelT],
        path: Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> ModelT:
        """Give the model of a file, loading it if it is not held; of several threads that ask at once, one loads.

        A load that fails leaves nothing behind, and the next request tries again.

        Args:
            role: keeps models apart that are made of the same file in different ways.
            load: called as `load(path, device="cpu", dtype=dtype)`; what it gives is told apart by identity and may be
                weakly referenced, as objects of ordinary classes are.
            path: an existing file.
            device: where `in_use` will bring it.
            dtype: what it computes in.
        """
        key = ModelKey(role, FileIdentity.of(path), dtype, exact_device(device))
        slot = self._slot(key)
        with slot.loading:
            if slot.model is None:
                slot.model = self._alive.get(key)
            if slot.model is None:
                self._alive[key] = slot.model = load(path, device=_CPU, dtype=dtype)
                logger.debug("loaded %s as %s for %s", path, role, key.device)
            model: ModelT = slot.model
        with self._lock:
            self._residences.setdefault(model, _Residence(key.device))
            self._shrink()
        return model

    @contextmanager
    def in_use(self, *models: object) -> Iterator[None]:
        """Have models on their devices inside the block; afterwards, the policy is applied to those nobody uses.

        Blocks may be nested, and may run in several threads at once. Models that did not come from this manager are
        left where they are.
        """
        with ExitStack() as stack:
            for model in models:
                stack.enter_context(self._one_in_use(model))
            yield

    def release(self) -> int:
        """Forget every model and give its memory back; gives how many there were.

        Models that a caller still holds move to the CPU, unless they are in use at this moment.
        """
        with self._lock:
            models = [slot.model for slot in self._slots.values() if slot.model is not None]
            self._slots.clear()
            residences = [self._residences.get(model) for model in models]
        count = len(models)
        for model, residence in zip(models, residences, strict=True):
            if residence is not None:
                with residence.lock:
                    if not residence.users:
                        _move(model, _CPU)
        models.clear()
        model = None
        return_free_memory()
        return count

    def held(self) -> dict[ModelKey, object]:
        """Give the models that are held now, the one asked for longest ago first."""
        with self._lock:
            return {key: slot.model for key, slot in self._slots.items() if slot.model is not None}

    def _slot(self, key: ModelKey) -> _Slot:
        with self._lock:
            for other in list(self._slots):
                # The same path with other content: the file was exchanged.
                if other.role == key.role and other.file.path == key.file.path and other.file != key.file:
                    del self._slots[other]
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            return slot

    def _shrink(self) -> None:
        while len(self._slots) > self._limit:
            self._slots.popitem(last=False)

    @contextmanager
    def _one_in_use(self, model: object) -> Iterator[None]:
        with self._lock:
            residence = self._residences.get(model)
        if residence is None:
            yield
            return
        with residence.lock:
            if not residence.users:
                _bring(model, residence.device)
            residence.users += 1
        try:
            yield
        finally:
            with residence.lock:
                residence.users -= 1
                if not residence.users:
                    self._leave(model, residence)

    def _leave(self, model: object, residence: _Residence) -> None:
        if self.policy == "drop":
            with self._lock:
                for key in [key for key, slot in self._slots.items() if slot.model is model]:
                    del self._slots[key]
        if self.policy != "keep" and residence.device != _CPU:
            _move(model, _CPU)
            empty_caches()


def exact_device(device: torch.device | str) -> torch.device:
    """Give a device with its number, so that "cuda" and "cuda:0" are one."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _move(model: object, device: torch.device) -> None:
    if isinstance(model, _Movable):
        model.to(device=device)


def _bring(model: object, device: torch.device) -> None:
    """Move a model to its device; of a move that fails, nothing stays there."""
    with ExitStack() as undo:
        undo.callback(empty_caches)
        undo.callback(_move, model, _CPU)
        _move(model, device)
        undo.pop_all()


_SHARED = ModelManager()


def shared_manager() -> ModelManager:
    """Give the one manager that everything in this process shares."""
    return _SHARED
