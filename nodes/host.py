"""All of ComfyUI that the nodes use: model folders, where networks live, progress and cancelling."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import comfy.model_management as management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from comfy.patcher_extension import CallbacksMP

from ..gpen_core.errors import SettingsError, WeightsNotFoundError
from ..gpen_core.models.catalog import Role
from ..gpen_core.models.content import FileIdentity
from ..gpen_core.models.places import EMBEDDED_FOLDER, find_files, search_folders
from ..gpen_core.paths import safe_output_path
from .convert import to_preview
from .lease import Lease, current_lease, hold_with

logger = logging.getLogger(__name__)

FOLDERS: dict[Role, tuple[str, ...]] = {
    "restorer": ("gpen", "facerestore_models"),
    "detector": ("facedetection",),
    "parser": ("facedetection", "face_parsing"),
    "upscaler": ("upscale_models",),
}
"""Model folders of ComfyUI that are looked into, by what the weights are for."""

PROFILE_FOLDER = "icc_profiles"
_EXTENSIONS = (".safetensors", ".pth", ".pt", ".ckpt")
_PROFILE_EXTENSIONS = (".icc", ".icm")
_PREVIEW_PX = 512
_STEPS = 1000
_GIVEN_UPSCALER_BYTES = 256 * 256 * 3 * 4 * 384  # of a tile, per factor: the estimate of ComfyUI's own upscale node


class Model(Protocol):
    """A core model: a network with what one must know to call it."""

    @property
    def network(self) -> torch.nn.Module:
        """The module whose weights ComfyUI places."""

    def to(self, device: torch.device) -> "Model":
        """Move the network in place."""


ItemT = TypeVar("ItemT")
ModelT = TypeVar("ModelT", bound=Model)


@dataclass(frozen=True, eq=False)
class Hosted(Generic[ModelT]):
    """A core model whose weights ComfyUI places, counts and evicts.

    Attributes:
        model: the core's model.
        patcher: ComfyUI's handle on it; ComfyUI holds it only weakly, so this object keeps both alive.
        stays: whether the weights may stay on the GPU after a run, until ComfyUI wants the space.
        lease: what keeps the network for the others who use it; None in the manager, which must not hold its own lease.
        shared: what the manager gave: while it lives, the manager loads no second one.
    """

    model: ModelT
    patcher: comfy.model_patcher.ModelPatcher
    stays: bool
    lease: Lease | None = None
    shared: "Hosted[ModelT] | None" = None


def register_model_folders() -> None:
    """Make the folders for weights known to ComfyUI, beside what extra_model_paths.yaml says."""
    for name in dict.fromkeys(name for names in FOLDERS.values() for name in names):
        _register(name, _EXTENSIONS)
    _register(PROFILE_FOLDER, _PROFILE_EXTENSIONS)


def _register(name: str, endings: tuple[str, ...]) -> None:
    folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))
    extensions = folder_paths.folder_names_and_paths[name][1]
    if isinstance(extensions, set):  # another pack may have registered a list of its own
        extensions.update(endings)


def weight_files(role: Role) -> dict[str, Path]:
    """Find weights: name in the menu -> path; the first folder that has a name wins.

    The role's model folders of ComfyUI are listed as they are; of the folder that weights are fetched into and of the
    other places the core knows, such as ModelScope's cache, only files whose content is of that role.
    """
    return _files(FOLDERS[role], _EXTENSIONS) | {
        f"{found.path.parent.name}/{found.path.name}": found.path
        for found in find_files(_other_places(role))
        if any(card.role == role for card in found.cards)
    }


def weight_file(role: Role, name: str) -> Path:
    """Find the file behind a menu entry; what is not in the menu is never opened.

    Raises:
        WeightsNotFoundError: if there is no such entry, e.g. because the file is gone.
    """
    files = weight_files(role)
    if name not in files:
        raise WeightsNotFoundError(
            f"there is no {role} {name!r} in {', '.join(f'models/{folder}' for folder in FOLDERS[role])}; put the file "
            "there and press R, or choose another one"
        )
    return files[name]


def restorer_places() -> list[Path]:
    """Give every folder in which a file of the catalogue may be."""
    return search_folders(
        Path(folder) for name in FOLDERS["restorer"] for folder in folder_paths.get_folder_paths(name)
    )


def fetch_folder() -> Path:
    """Give the folder that restorers are fetched into: models/gpen, or what extra_model_paths.yaml puts before it."""
    return Path(folder_paths.get_folder_paths("gpen")[0])


def _other_places(role: Role) -> list[Path]:
    fetched = _folders("gpen")
    listed = _folders(*(name for names in FOLDERS.values() for name in names)) - fetched
    left_out = {*listed, *_folders(*FOLDERS[role]), EMBEDDED_FOLDER.resolve()}
    return [folder for folder in search_folders(sorted(fetched)) if folder not in left_out]


def _folders(*names: str) -> set[Path]:
    return {Path(folder).resolve() for name in names for folder in folder_paths.get_folder_paths(name)}


def profile_files() -> dict[str, Path]:
    """Find the colour profiles of presses and printers in models/icc_profiles: name in the menu -> path."""
    return _files((PROFILE_FOLDER,), _PROFILE_EXTENSIONS)


def profile_file(name: str) -> Path:
    """Find the colour profile behind a menu entry; what is not in the menu is never opened.

    Raises:
        SettingsError: if there is no such entry, e.g. because the file is gone.
    """
    files = profile_files()
    if name not in files:
        raise SettingsError(f"there is no colour profile {name!r} in models/{PROFILE_FOLDER}; choose another one")
    return files[name]


def _files(folders: tuple[str, ...], endings: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for name in folder_paths.get_filename_list(folder):
            path = folder_paths.get_full_path(folder, name)
            if name.lower().endswith(endings) and path is not None:
                found.setdefault(name, Path(path))
    return found


def photo_folder(name: str) -> Path:
    """Find a folder of photos: an absolute path, one that begins with "~", or a name inside ComfyUI's input folder.

    Blanks around it are left out, and the quotes that Windows puts around a copied path.

    Raises:
        SettingsError: if it begins with the name of a user who does not exist.
    """
    try:
        return Path(folder_paths.get_input_directory()) / Path(name.strip().strip('"')).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"{name!r} is no folder: {error}") from error


def output_folder(name: str) -> Path:
    """Name a folder inside ComfyUI's output folder; never one outside."""
    return safe_output_path(Path(folder_paths.get_output_directory()), name)


def next_output_path(prefix: str, suffix: str, height: int, width: int) -> Path:
    """Name a new file in ComfyUI's output folder as its own Save Image does: prefix_00001_.png and so on.

    ComfyUI fills in %date% and the like, and refuses prefixes that lead out of the folder; names that Windows reserves
    are refused here.
    """
    output = folder_paths.get_output_directory()
    prefix = prefix.replace("\\", "/")  # of a workflow from Windows; else it would be part of the name here
    safe_output_path(Path(output), prefix)
    folder, name, counter, *_ = folder_paths.get_save_image_path(prefix, output, width, height)
    path = Path(folder)
    # ComfyUI counts the pictures of every kind, but only those whose names it can read; never take a name twice.
    while (path / f"{name}_{counter:05}_{suffix}").exists():
        counter += 1
    return safe_output_path(path, f"{name}_{counter:05}_{suffix}")


def output_entry(path: Path) -> tuple[str, str]:
    """Tell the page where a file of the output folder is: its name, and its sub-folder."""
    folder = path.parent.relative_to(Path(folder_paths.get_output_directory()).resolve())
    return path.name, "" if folder == Path() else folder.as_posix()


def embeds_workflows() -> bool:
    """Tell whether saved pictures shall carry the workflow that made them."""
    return not args.disable_metadata


def hosted(
    role: str, load: Callable[..., ModelT], path: Path, dtype: torch.dtype = torch.float32, *, stays: bool = False
) -> Hosted[ModelT]:
    """Load a model and put it under ComfyUI's care, or give the one that is held already.

    The core's manager holds and shares it, as long as ComfyUI keeps a node or a result of ours: a file that changed
    under the same name is loaded anew, and so is another type.

    Args:
        role: keeps models of different kinds apart.
        load: the core's function; takes the path, `device` and `dtype`.
        path: the weights.
        dtype: what to compute in.
        stays: whether the weights may stay on the GPU between runs.
    """
    compute = management.get_torch_device()

    def load_hosted(source: Path, *, device: torch.device, dtype: torch.dtype) -> Hosted[ModelT]:
        model = load(source, device=device, dtype=dtype)
        patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
        offload = management.unet_offload_device()
        patcher = patcher_class(model.network, load_device=compute, offload_device=offload)
        # ComfyUI's dynamic patcher brings back only leaves; weights of modules that have children would stay behind.
        patcher.add_callback(CallbacksMP.ON_DETACH, lambda *_: sys.is_finalizing() or model.to(device=offload))
        return Hosted(model, patcher, stays)

    lease = current_lease()
    shared = lease.manager.get(f"{role} in ComfyUI", load_hosted, path, device=compute, dtype=dtype)
    return replace(shared, stays=stays, lease=lease, shared=shared)  # one network, whatever each wants after the run


@dataclass(frozen=True, eq=False)
class GivenUpscaler:
    """A network of ComfyUI's own node Load Upscale Model, as the core calls upscalers.

    Attributes:
        model: what came over the socket UPSCALE_MODEL; on `device` already.
        device: where it computes.
    """

    model: Any
    device: torch.device

    @property
    def scale(self) -> int:
        """How many times larger the result is."""
        return int(self.model.scale)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (1, 3, H, W) sRGB in [0, 1] into (1, 3, H * scale, W * scale), float32, on the same device."""
        with torch.no_grad():
            return self.model(pixels.float().to(self.device)).float().clamp(0, 1).to(pixels.device)


@contextmanager
def given_upscaler(model: Any) -> Iterator[GivenUpscaler]:  # noqa: ANN401 (ComfyUI's own type)
    """Have a network of ComfyUI's own on the compute device inside the block; afterwards it leaves, as ComfyUI has it.

    ComfyUI makes room by evicting others.
    """
    device = management.get_torch_device()
    management.free_memory(management.module_size(model.model) + _GIVEN_UPSCALER_BYTES * int(model.scale), device)
    model.to(device)
    try:
        yield GivenUpscaler(model, device)
    finally:
        model.to("cpu")
        management.soft_empty_cache()


def fingerprint(*paths: Path | None) -> str:
    """Tell files from others under the same names; what is None is left out.

    ComfyUI writes it into saved pictures: plain text, and without the paths, which are nobody's business there.
    """
    files = [FileIdentity.of(path) for path in paths if path is not None]
    return " ".join(f"{file.size_bytes}-{file.mtime_ns}" for file in files)


@contextmanager
def on_device(*models: Hosted, activation_bytes: int = 0) -> Iterator[None]:
    """Have the weights of `models` on the compute device inside the block.

    ComfyUI makes room by evicting others. Afterwards, also where one did not fit, models that do not stay leave the
    device.
    """
    patchers = [one.patcher for one in models]
    try:
        management.load_models_gpu(patchers, memory_required=activation_bytes, force_full_load=True)
        for one in models:
            one.model.to(device=one.patcher.load_device)
        yield
    finally:
        for one in models:
            if not one.stays:
                unload(one)


def unload(model: Hosted) -> None:
    """Take a model off the compute device and off ComfyUI's list."""
    for entry in [entry for entry in management.current_loaded_models if entry.model is model.patcher]:
        entry.model_unload()
        management.current_loaded_models.remove(entry)
    model.model.to(device=model.patcher.offload_device)
    management.soft_empty_cache()


def release_models() -> int:
    """Let go of every model this pack holds for later; gives how many there were."""
    manager = current_lease().manager
    for model in manager.held().values():
        if isinstance(model, Hosted):
            unload(model)
    return manager.release()


def unload_everything() -> None:
    """Ask ComfyUI to take every model of every pack off the device."""
    management.unload_all_models()
    management.soft_empty_cache()


def to_output(tensor: torch.Tensor) -> torch.Tensor:
    """Put a result where ComfyUI wants results to be; while it is kept, the networks are."""
    result = tensor.to(management.intermediate_device())
    hold_with(result)
    return result


class NodeProgress:
    """The core's progress, shown on the running node; one phase of several if `count` is more than 1.

    Args:
        index: which of the phases this is, from 0.
        count: how many phases the bar is made of.
        parts: how many times a phase is started, each for an equal part of it.
    """

    def __init__(self, index: int = 0, count: int = 1, parts: int = 1) -> None:
        self._bar = comfy.utils.ProgressBar(_STEPS)
        self._index = index
        self._count = count
        self._parts = parts
        self._started = 0
        self._total = 1
        self._done = 0

    def start(self, total: int, label: str) -> None:
        """Begin a phase, or the next part of one, of `total` units."""
        self._started = min(self._started + 1, self._parts)
        self._total = max(total, 1)
        self._done = 0
        self.check_cancelled()

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        """Move the bar, and show `preview`, (3, H, W) sRGB in [0, 1], on the node."""
        self._done = min(self._done + units, self._total)
        phase = (max(self._started, 1) - 1 + self._done / self._total) / self._parts
        value = round(_STEPS * (self._index + phase) / self._count)
        picture = None if preview is None else ("JPEG", to_preview(preview), _PREVIEW_PX)
        self._bar.update_absolute(value, _STEPS, picture)
        self.check_cancelled()

    def finish(self) -> None:
        """Move the bar to the end of the phase, however much of it was left to do."""
        self._started = self._parts
        self.advance(self._total)

    def check_cancelled(self) -> None:
        """Raise ComfyUI's own exception if the user pressed cancel."""
        management.throw_exception_if_processing_interrupted()


def in_turn(items: Iterable[ItemT], label: str) -> Iterator[ItemT]:
    """Give items one by one, moving the running node's bar after each; raises if the user pressed cancel."""
    waiting = list(items)
    progress = NodeProgress()
    progress.start(len(waiting), label)
    for item in waiting:
        yield item
        progress.advance()
