"""The pack's own socket types, and the inputs that several nodes share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..gpen_core.align import enlarged_face
from ..gpen_core.detect import detect_faces
from ..gpen_core.errors import SettingsError, ShapeError
from ..gpen_core.masks import MaskArea
from ..gpen_core.models.descriptor import Restorer, Upscaler
from ..gpen_core.models.faceparsing import FaceParser, load_face_parser
from ..gpen_core.models.load import EMBEDDED_RESTORER as RESTORER_FILE
from ..gpen_core.models.load import load_restorer, load_upscaler
from ..gpen_core.models.retinaface import FaceDetector, load_detector
from ..gpen_core.models.retinaface.load import EMBEDDED as DETECTOR_FILE
from ..gpen_core.pipeline import NoFaceChoice
from ..gpen_core.select import FaceOrder
from ..gpen_core.types import Face, FaceCrop
from ..gpen_core.upscale import PLAIN_UPSCALERS, PlainUpscaler, UpscaleSettings
from . import convert, host

CATEGORY = "GPEN Portrait"

ChoiceT = TypeVar("ChoiceT")

RestorerSocket = io.Custom("GPEN_MODEL")
DetectorSocket = io.Custom("GPEN_FACE_DETECTOR")
FacesSocket = io.Custom("GPEN_FACES")
SheetsSocket = io.Custom("GPEN_PRINT_SHEETS")
BoxesSocket = io.Custom("BOUNDING_BOX")

EMBEDDED_RESTORER = "GPEN small 256 (embedded)"
EMBEDDED_DETECTOR = "RetinaFace MobileNet (embedded)"
FACE_MESH = "face mesh (embedded)"
SAME_SIZE = "none (keep the size)"
PLAIN = {f"plain x{one.scale} (no network)": one for one in PLAIN_UPSCALERS.values()}


class Menu(dict[str, ChoiceT]):
    """What the entries of a menu stand for. A wire may bring any word: ComfyUI checks menus alone."""

    def __missing__(self, entry: str) -> ChoiceT:
        raise SettingsError(f"expected one of {', '.join(map(repr, self))}, got {entry!r}")


NO_FACE: Menu[NoFaceChoice] = Menu(
    {
        "pass the photo on": "keep",
        "treat the whole picture as a face": "whole",
        "stop with an error": "stop",
    }
)
AREAS: Menu[MaskArea] = Menu({"head with hair": "head", "face only": "face"})
ORDERS: Menu[FaceOrder] = Menu(
    {
        "largest first": "largest",
        "left to right": "left",
        "top to bottom": "top",
        "surest first": "surest",
    }
)
PRECISION: Menu[torch.dtype] = Menu(
    {
        "fp32 (best)": torch.float32,
        "bf16 (half the memory)": torch.bfloat16,
        "fp16 (half the memory)": torch.float16,
    }
)

ADVANCED: dict[str, Any] = {"advanced": True} if "advanced" in signature(io.Combo.Input).parameters else {}
"""For inputs that versions of ComfyUI which can fold inputs away shall fold away; the others show them."""


@dataclass(frozen=True, eq=False)
class FaceSet:
    """The value of a GPEN_FACES socket: the faces of a batch of pictures on their way through the steps.

    Attributes:
        found: every detected face of each picture, largest first.
        size: (height, width) of the pictures.
        crops: those that are worked on, cut out and upright; their `image_index` says which picture they belong to.
        whole: pictures in which no face was found and which stand as a face themselves.
    """

    found: tuple[tuple[Face, ...], ...]
    size: tuple[int, int]
    crops: tuple[FaceCrop, ...]
    whole: frozenset[int] = frozenset()


def faces_in(faces: FaceSet, pictures: torch.Tensor) -> list[list[Face]]:
    """Give the faces of each picture: those that are worked on, or every one that was found if none of them is.

    Args:
        faces: of a batch.
        pictures: (B, 3, H, W), the same pictures, which may be larger or smaller by now.

    Returns:
        The faces in pixels of `pictures`.

    Raises:
        ShapeError: if the faces are of other pictures.
    """
    scale = pictures.shape[3] / faces.size[1]
    if len(faces.found) != len(pictures) or abs(faces.size[0] * scale - pictures.shape[2]) > max(1.0, scale):
        raise ShapeError(
            f"expected the {len(faces.found)} pictures of {faces.size[1]}x{faces.size[0]} pixels that the faces were "
            f"found in, at any scale, got {len(pictures)} of {pictures.shape[3]}x{pictures.shape[2]}"
        )
    chosen = [[crop.face for crop in faces_of(faces.crops, index)] for index in range(len(pictures))]
    return [
        [enlarged_face(face, scale) for face in here or found] for here, found in zip(chosen, faces.found, strict=True)
    ]


def search_aliases(*words: str) -> dict[str, Any]:
    """Give other names to find a node by, for the versions of ComfyUI that know them (0.11.0 and later)."""
    known = {field.name for field in fields(io.Schema)}
    return {"search_aliases": list(words)} if "search_aliases" in known else {}


def restorer_menu(*more: str) -> io.Combo.Input:
    """Make the menu of restorers: the embedded one first, then the files of the model folders, then `more`."""
    return io.Combo.Input(
        "model",
        options=[EMBEDDED_RESTORER, *host.weight_files("restorer"), *more],
        default=EMBEDDED_RESTORER,
        tooltip=(
            "The network that redraws the faces. The embedded one is small and quick and works at once; the published "
            "GPEN files are far better: put them into models/gpen or models/facerestore_models and press R."
        ),
    )


def detector_menu(input_id: str, *, advanced: bool = False) -> io.Combo.Input:
    """Make the menu of face detectors: the embedded one first, then the files of models/facedetection."""
    return io.Combo.Input(
        input_id,
        options=[EMBEDDED_DETECTOR, *host.weight_files("detector")],
        default=EMBEDDED_DETECTOR,
        tooltip=(
            "The network that finds the faces. The embedded one serves almost every portrait; "
            "detection_Resnet50_Final.pth in models/facedetection is slower and misses fewer faces in crowds."
        ),
        **(ADVANCED if advanced else {}),
    )


def parser_menu() -> io.Combo.Input:
    """Make the menu of what draws the masks: the embedded face mesh first, then face parsing files."""
    return io.Combo.Input(
        "parser",
        options=[FACE_MESH, *host.weight_files("parser")],
        default=FACE_MESH,
        tooltip=(
            "What draws the edge of the restored part: the embedded face mesh, or a face parsing network "
            "(parsing_parsenet.pth or parsing_bisenet.pth in models/facedetection), which follows hair and hats."
        ),
        **ADVANCED,
    )


def upscaler_menu() -> io.Combo.Input:
    """Make the menu of what enlarges the background: nothing, interpolation, the files of models/upscale_models."""
    return io.Combo.Input(
        "upscaler",
        options=[SAME_SIZE, *PLAIN, *host.weight_files("upscaler")],
        default=SAME_SIZE,
        tooltip=(
            "Enlarges the picture around the restored faces: plainly, which invents nothing, or, as many times as the "
            "network does, by an ESRGAN file such as RealESRGAN_x2plus.pth in models/upscale_models. The faces "
            "themselves come from the restorer."
        ),
        optional=True,
        **ADVANCED,
    )


def area_menu() -> io.Combo.Input:
    """Make the menu of how far a restored face reaches."""
    return io.Combo.Input(
        "area",
        options=list(AREAS),
        default=next(iter(AREAS)),
        tooltip="How far the restored part reaches: the whole head with its hair, or the face alone.",
    )


def no_face_menu(
    choices: Iterable[str] = NO_FACE,
    tooltip: str = (
        "What to do with a picture in which no face is found: pass it on unchanged (the report says so), take the "
        "whole picture for one upright face (for crops made elsewhere), or stop the run with an error."
    ),
) -> io.Combo.Input:
    """Make the menu of what happens to a photo without a face; the first choice is the default."""
    options = list(choices)
    return io.Combo.Input("no_face", options=options, default=options[0], tooltip=tooltip)


def choice_inputs(take: str, *, optional: bool = False) -> tuple[io.String.Input, io.Combo.Input]:
    """Make the inputs for which faces are taken, and for what their numbers count; `take` is the default."""
    folded = ADVANCED if optional else {}
    numbers = io.String.Input(
        "take",
        default=take,
        tooltip='Which faces: "all", or numbers counted from 1, e.g. "1", "1, 3" or "2-4".',
        optional=optional,
        **folded,
    )
    order = io.Combo.Input(
        "order",
        options=list(ORDERS),
        default=next(iter(ORDERS)),
        tooltip="What the numbers count: from the largest face, from the left, the top, or the surest.",
        optional=optional,
        **folded,
    )
    return numbers, order


def min_score_input(*, optional: bool = False) -> io.Float.Input:
    """Make the input for the least confidence of the detector."""
    return io.Float.Input(
        "min_score",
        default=0.8,
        min=0.05,
        max=0.99,
        step=0.01,
        tooltip="How sure the detector must be that something is a face. Lower it for hidden or drawn faces.",
        optional=optional,
        **ADVANCED,
    )


def smallest_face_input() -> io.Int.Input:
    """Make the input for the least size of faces that are worked on."""
    return io.Int.Input(
        "smallest_face_px",
        default=16,
        min=0,
        max=4096,
        tooltip=(
            "Faces whose box is narrower than this many pixels are left as they are: "
            "so few pixels do not say who the person is. Raise it to leave people in the background alone."
        ),
        **ADVANCED,
    )


def batch_size_input() -> io.Int.Input:
    """Make the input for how many faces run at once."""
    return io.Int.Input(
        "faces_at_once",
        default=4,
        min=1,
        max=64,
        tooltip="How many faces go through the network at once. Halves itself when the memory runs out.",
        **ADVANCED,
    )


def strength_input() -> io.Float.Input:
    """Make the input for the share of the restored face."""
    return io.Float.Input(
        "strength",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip="How much of the restored face shows: 1 is all of it, 0 leaves the photo as it was.",
    )


def keep_detail_input(*, optional: bool = False) -> io.Float.Input:
    """Make the input for the detail that comes from the photo."""
    return io.Float.Input(
        "keep_detail",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip=(
            "How much of the photo's own fine detail is kept, so that a good face never becomes softer: what is finer "
            "than the network's pixels, and what the network lost. Noise is taken out of it where the photo is not "
            "clean. 0 takes the network's face as it is."
        ),
        optional=optional,
        **ADVANCED,
    )


def restorer_path(name: str) -> Path:
    """Find the file behind a name of the restorer menu."""
    return RESTORER_FILE if name == EMBEDDED_RESTORER else host.weight_file("restorer", name)


def detector_path(name: str) -> Path:
    """Find the file behind a name of the detector menu."""
    return DETECTOR_FILE if name == EMBEDDED_DETECTOR else host.weight_file("detector", name)


def parser_path(name: str) -> Path | None:
    """Find the file behind a name of the parser menu; None for the embedded face mesh."""
    return None if name == FACE_MESH else host.weight_file("parser", name)


def upscaler_path(name: str) -> Path | None:
    """Find the file behind a name of the upscaler menu; None where none is needed."""
    return None if name == SAME_SIZE or name in PLAIN else host.weight_file("upscaler", name)


def fingerprint(**names: str | None) -> str:
    """Tell the files behind menu entries from others under the same names.

    Args:
        names: by role: restorer, detector, parser, upscaler. What comes over a wire is not known yet, so that ComfyUI
            gives None for it; it is left out.
    """
    paths: dict[str, Callable[[str], Path | None]] = {
        "restorer": restorer_path,
        "detector": detector_path,
        "parser": parser_path,
        "upscaler": upscaler_path,
    }
    return host.fingerprint(*(paths[role](name) for role, name in names.items() if name is not None))


@contextmanager
def upscaler_on_device(name: str) -> Iterator[Upscaler | PlainUpscaler | None]:
    """Give the upscaler of a menu entry, ready to run inside the block; None for none."""
    upscaler = _hosted_upscaler(name)
    if upscaler is None:
        yield PLAIN.get(name)
        return
    with host.on_device(upscaler, activation_bytes=tile_bytes(upscaler.model)):
        yield upscaler.model


@contextmanager
def parser_on_device(name: str) -> Iterator[FaceParser | None]:
    """Give the face parser of a menu entry, ready to run inside the block; None for the embedded face mesh."""
    parser = _hosted_parser(name)
    if parser is None:
        yield None
        return
    with host.on_device(parser):
        yield parser.model


@dataclass(frozen=True, eq=False)
class Team:
    """The networks of a whole restoration, on the device."""

    detector: FaceDetector
    restorer: Restorer
    parser: FaceParser | None
    upscaler: Upscaler | PlainUpscaler | None


@contextmanager
def team_on_device(model: str, detector: str, parser: str, upscaler: str, faces: int) -> Iterator[Team]:
    """Give the networks of four menu entries, all ready to run inside the block.

    They are asked for together: one by one they would make room for themselves by evicting each other.

    Args:
        model: entry of the restorer menu.
        detector: entry of the detector menu.
        parser: entry of the parser menu.
        upscaler: entry of the upscaler menu.
        faces: how many faces go through the restorer at once.
    """
    restorer, finder = hosted_restorer(model), hosted_detector(detector)
    drawer, enlarger = _hosted_parser(parser), _hosted_upscaler(upscaler)
    work = activation_bytes(restorer.model, faces)
    if enlarger is not None:
        work = max(work, tile_bytes(enlarger.model))
    present = [one for one in (enlarger, drawer, finder, restorer) if one is not None]
    with host.on_device(*present, activation_bytes=work):
        yield Team(
            finder.model,
            restorer.model,
            None if drawer is None else drawer.model,
            PLAIN.get(upscaler) if enlarger is None else enlarger.model,
        )


def _hosted_upscaler(name: str) -> host.Hosted[Upscaler] | None:
    path = upscaler_path(name)
    return None if path is None else host.hosted("upscaler", load_upscaler, path)


def _hosted_parser(name: str) -> host.Hosted[FaceParser] | None:
    path = parser_path(name)
    return None if path is None else host.hosted("parser", load_face_parser, path)


def hosted_restorer(name: str = EMBEDDED_RESTORER) -> host.Hosted[Restorer]:
    """Give the restorer of a menu entry."""
    return host.hosted("restorer", load_restorer, restorer_path(name))


def hosted_detector(name: str = EMBEDDED_DETECTOR, stays: bool = False) -> host.Hosted[FaceDetector]:
    """Give the detector of a menu entry."""
    return host.hosted("detector", load_detector, detector_path(name), stays=stays)


def activation_bytes(restorer: Restorer, faces: int) -> int:
    """Estimate the working memory of a restorer beside its weights.

    The widest maps are those of full size: about a dozen of them live at once, with the encoder's features.
    """
    return 12 * faces * restorer.size**2 * restorer.spec.channels[-1] * restorer.dtype.itemsize


def tile_bytes(upscaler: Upscaler) -> int:
    """Estimate the working memory of an upscaler beside its weights: about four maps of a tile's enlarged size."""
    side = UpscaleSettings().tile_px * upscaler.scale
    return 4 * side**2 * upscaler.spec.width * upscaler.dtype.itemsize


def find_faces(images: torch.Tensor) -> list[list[Face]]:
    """Find the faces of (B, 3, H, W) pictures with the embedded detector."""
    detector = hosted_detector()
    with host.on_device(detector):
        return detect_faces(images, detector.model, None, host.NodeProgress())


def crop_images(faces: FaceSet) -> torch.Tensor | ExecutionBlocker:
    """Make an IMAGE of the crops; with no face at all, what lies behind the output does not run."""
    if not faces.crops:
        return ExecutionBlocker(None)
    return host.to_output(convert.to_image([crop.pixels for crop in faces.crops]))


def faces_of(crops: Sequence[FaceCrop], index: int) -> list[FaceCrop]:
    """Pick the crops that belong to one picture of a batch."""
    return [crop for crop in crops if crop.image_index == index]
