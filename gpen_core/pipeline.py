"""One portrait from photo to pasted result: the only file that knows the order of the steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch

from .align import align_face, cut, require_image
from .detect import DetectSettings, detect_faces
from .errors import NoFaceError, SettingsError
from .geometry import apply_affine, enlarge, invert, template_points
from .masks import MaskArea, face_mask
from .models.descriptor import Restorer
from .models.facemesh import FaceMesh, load_face_mesh
from .models.faceparsing import FaceParser
from .models.manager import shared_manager
from .models.retinaface import FaceDetector
from .paste import PasteSettings, paste_faces, times_larger
from .progress import NoProgress, Progress
from .restore import restore_faces
from .select import FaceChoice, choose_faces
from .types import Box, Face, FaceCrop, FaceReport, MaskSource, PortraitResult
from .upscale import PictureUpscaler, UpscaleSettings, upscale_photo

NoFaceChoice: TypeAlias = Literal["keep", "whole", "stop"]

NOT_CHOSEN = "not chosen"
"""Why a face is left alone that is none of `PortraitSettings.choice`."""

_NO_PROGRESS = NoProgress()


@dataclass(frozen=True)
class PortraitSettings:
    """How a portrait is restored.

    Attributes:
        detect: how faces are found.
        paste: how restored faces are blended in; holds the strength.
        mask_area: what is blended in where no face parsing says it: the "head" with its hair, or the "face" alone.
        on_no_face: what to do with a photo without a face: "keep" it as it is and say so, take the "whole" picture
            for an aligned face, or "stop" with NoFaceError.
        choice: which of the faces that are large enough are restored; the others are left alone and reported.
        smallest_face_px: faces whose box is smaller than this in the photo that came in are left alone and reported:
            so few pixels do not say who the person is.
        batch_size: how many faces go through the restorer at once.
        upscale: how the background is enlarged, if there is an upscaler.
    """

    detect: DetectSettings = field(default_factory=DetectSettings)
    paste: PasteSettings = field(default_factory=PasteSettings)
    mask_area: MaskArea = "head"
    on_no_face: NoFaceChoice = "keep"
    choice: FaceChoice = field(default_factory=FaceChoice)
    smallest_face_px: float = 16.0
    batch_size: int = 4
    upscale: UpscaleSettings = field(default_factory=UpscaleSettings)

    def __post_init__(self) -> None:
        if self.on_no_face not in ("keep", "whole", "stop"):
            raise SettingsError(f'expected on_no_face "keep", "whole" or "stop", got "{self.on_no_face}"')
        if not self.smallest_face_px >= 0:
            raise SettingsError(f"expected smallest_face_px of at least 0, got {self.smallest_face_px}")
        if self.batch_size < 1:
            raise SettingsError(f"expected a batch_size of at least 1, got {self.batch_size}")


def restore_portrait(
    pixels: torch.Tensor,
    detector: FaceDetector | None = None,
    restorer: Restorer | None = None,
    settings: PortraitSettings | None = None,
    *,
    parser: FaceParser | None = None,
    mesh: FaceMesh | None = None,
    upscaler: PictureUpscaler | None = None,
    progress: Progress = _NO_PROGRESS,
    in_place: bool = False,
) -> PortraitResult:
    """Restore every face of a photo and blend it back.

    With an upscaler the result is that many times larger: faces are found in and cut from the photo enlarged by plain
    interpolation, and what the upscaler makes of the photo is only their background.

    Args:
        pixels: (3, H, W) photo, sRGB in [0, 1].
        detector: finds the faces; the embedded one if None, held by the shared manager.
        restorer: restores them; the embedded one if None, held likewise.
        settings: how; the default gives a good portrait.
        parser: face parsing for the masks, if its weights are present.
        mesh: face mesh for the masks; the embedded one if None.
        upscaler: enlarges the background; the size stays if None.
        progress: advances by one per face, and before that, with an upscaler, by the photo's pixels.
        in_place: write the faces into `pixels` itself, which the caller gives away; of a large photo this saves a copy.

    Raises:
        ShapeError: if `pixels` is not (3, H, W).
        NoFaceError: if there is no face and `settings.on_no_face` is "stop".
        ModelMemoryError: if not even one face, or the smallest tile of the background, fits into memory.

    Source: the pairing with an upscaler is GPEN's published code (`face_enhancement.py`).
    """
    require_image(pixels)
    settings = settings or PortraitSettings()
    models = shared_manager()
    detector, restorer = detector or models.detector(), restorer or models.restorer()
    photo, background, smallest = pixels, pixels, settings.smallest_face_px
    if upscaler is not None:
        with models.in_use(upscaler):
            background = upscale_photo(pixels, upscaler, settings.upscale, progress=progress)
        pixels, smallest = enlarge(pixels[None], upscaler.scale)[0], smallest * upscaler.scale
        in_place = True  # nobody else has this background
    progress.check_cancelled()
    with models.in_use(detector, restorer):
        faces = detect_faces(pixels[None], detector, settings.detect)[0]
        if not faces:
            return _without_faces(photo, background, restorer, settings, progress, in_place)
        wanted = choose_faces([face for face in faces if face.box.size >= smallest], settings.choice)
        progress.start(len(wanted), "Restoring faces")
        crops = [align_face(pixels, face, restorer.size, restorer.template) for face in wanted]
        restored = restore_faces(crops, restorer, batch_size=settings.batch_size, progress=progress)
    mesh = mesh or load_face_mesh()
    masks = [face_mask(crop, pixels, parser=parser, mesh=mesh, area=settings.mask_area) for crop in restored]
    soft = [mask.pixels for mask in masks]
    result, shown = paste_faces(photo, restored, soft, settings.paste, background=background, in_place=in_place)
    sources = {id(face): mask.source for face, mask in zip(wanted, masks, strict=True)}
    times = 1 if upscaler is None else upscaler.scale
    return PortraitResult(result, shown, report_faces(faces, sources, settings.smallest_face_px, times=times))


def report_faces(
    faces: Sequence[Face],
    mask_sources: dict[int, MaskSource],
    smallest_face_px: float,
    image_index: int = 0,
    times: int = 1,
) -> tuple[FaceReport, ...]:
    """Say of each face what became of it.

    Args:
        faces: all detected faces of one image.
        mask_sources: for each restored face, under its `id`, what its mask was made from.
        smallest_face_px: the limit below which faces were left alone, in pixels of the photo.
        image_index: which image of a batch.
        times: how many times larger than the photo the picture is in which the faces were found.
    """
    reports = []
    for face in faces:
        source = mask_sources.get(id(face))
        size = face.box.size / times
        reason = ""
        if source is None:
            too_small = f"too small: {size:.0f} px, the limit is {smallest_face_px:.0f} px"
            reason = too_small if size < smallest_face_px else NOT_CHOSEN
        outcome: Literal["restored", "skipped"] = "restored" if source else "skipped"
        reports.append(FaceReport(image_index, face.box, face.score, size, outcome, reason, source))
    return tuple(reports)


def whole_picture_crop(pixels: torch.Tensor, restorer: Restorer, image_index: int = 0) -> FaceCrop:
    """Take a whole picture for one face that is already aligned, padded to a square.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        restorer: gives the size and the template.
        image_index: which image of a batch; only passed on.
    """
    height, width = pixels.shape[1:]
    scale = restorer.size / max(height, width)
    # Half pixels: the outer edges of the picture, not its outer pixel centres, meet the edges of the square.
    shift = [(restorer.size - side * scale) / 2 + 0.5 * scale - 0.5 for side in (width, height)]
    image_to_crop = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    landmarks = apply_affine(invert(image_to_crop), template_points(restorer.template, restorer.size))
    face = Face(Box(0, 0, width - 1, height - 1), landmarks, 0.0)
    return FaceCrop(cut(pixels, image_to_crop, restorer.size), image_to_crop, face, image_index)


def _without_faces(
    photo: torch.Tensor,
    background: torch.Tensor,
    restorer: Restorer,
    settings: PortraitSettings,
    progress: Progress,
    in_place: bool,
) -> PortraitResult:
    if settings.on_no_face == "stop":
        raise NoFaceError(
            f"expected at least one face, found none in a picture of {photo.shape[2]}x{photo.shape[1]} pixels; "
            "choose a photo with a visible face, lower the detector's score threshold, or let such photos pass"
        )
    if settings.on_no_face == "keep":
        became = "unchanged" if background is photo else "only enlarged"
        result, nothing = background if in_place else background.clone(), torch.zeros(background.shape[1:])
        return PortraitResult(result, nothing, (), f"No face found: the photo is {became}.")
    progress.start(1, "Restoring the whole picture")
    crop = whole_picture_crop(enlarge(photo[None], times_larger(photo, background))[0], restorer)
    restored = restore_faces([crop], restorer, batch_size=1, progress=progress)
    whole = [torch.ones(crop.size, crop.size)]
    result, shown = paste_faces(photo, restored, whole, settings.paste, background=background, in_place=in_place)
    size = crop.face.box.size / times_larger(photo, background)
    report = FaceReport(0, crop.face.box, 0.0, size, "restored", mask_source="picture")
    return PortraitResult(result, shown, (report,), "No face found: the whole picture was taken for one face.")
