"""Check Photo: is this photo good enough for a portrait?"""

import torch
from comfy_api.latest import io, ui

from ..gpen_core.check import PhotoCheck, check_photo
from ..gpen_core.check_limits import CheckThresholds
from ..gpen_core.check_report import annotate
from ..gpen_core.models.facemesh import load_face_mesh
from . import convert, host, sockets
from .lease import NetworkNode

_ANGLES = ("yaw", "pitch", "roll")


class CheckPhoto(NetworkNode):
    """Judges photos and says what the client should do better."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_CheckPhoto",
            display_name="Check Photo (GPEN)",
            category=sockets.CATEGORY,
            is_output_node=True,
            description=(
                "Checks whether a photo is good enough for a portrait: size, number of faces, pose, open eyes, light, "
                "sharpness, noise, compression, background. Gives a report with advice, and a BOOLEAN to branch on."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or a batch of photos."),
                io.Int.Input(
                    "reject_below_px",
                    default=128,
                    min=1,
                    max=8192,
                    tooltip="Photos narrower or lower than this many pixels are rejected.",
                ),
                io.Int.Input(
                    "warn_below_px",
                    default=150,
                    min=1,
                    max=8192,
                    tooltip="Photos narrower or lower than this many pixels are warned about.",
                ),
                io.Float.Input(
                    "largest_angle",
                    default=30.0,
                    min=1.0,
                    max=90.0,
                    step=1.0,
                    tooltip="How far the head may be turned or tilted, in degrees, before the photo is rejected.",
                ),
                io.Boolean.Input(
                    "niqe",
                    default=True,
                    tooltip=(
                        "Also measure how natural the picture looks as a whole (NIQE). Takes a third of a second and "
                        "needs the package basicsr; the report says so if it is missing."
                    ),
                    **sockets.ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output("annotated", tooltip="The photo with what was found drawn on it."),
                io.Boolean.Output("ok", tooltip="True if no photo of the batch was rejected; warnings pass."),
                io.String.Output("report", tooltip="Every value with its limit and verdict, and advice."),
                io.String.Output("json", tooltip="The same for programs: a list with one entry per photo."),
            ],
            **sockets.search_aliases("photo quality", "validate photo", "face pose", "blur check", "NIQE", "照片检查"),
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, reject_below_px: int, warn_below_px: int, largest_angle: float, niqe: bool
    ) -> io.NodeOutput:
        """Check each photo."""
        frames = convert.from_image(image)
        thresholds = _thresholds(reject_below_px, warn_below_px, largest_angle)
        detector, mesh = sockets.hosted_detector(), load_face_mesh()
        progress = host.NodeProgress()
        progress.start(len(frames.pixels), "Checking photos")
        checks: list[PhotoCheck] = []
        with host.on_device(detector):
            for pixels in frames.pixels:
                checks.append(check_photo(pixels, detector.model, thresholds, mesh=mesh, with_niqe=niqe))
                progress.advance()
        drawn = [annotate(pixels, check) for pixels, check in zip(frames.pixels, checks, strict=True)]
        annotated = host.to_output(convert.to_image(drawn))
        return io.NodeOutput(
            annotated,
            all(check.ok for check in checks),
            "\n\n".join(check.text() for check in checks),
            f"[{', '.join(check.as_json() for check in checks)}]",
            ui=ui.PreviewImage(annotated, cls=cls),
        )


def _thresholds(reject_below_px: int, warn_below_px: int, largest_angle: float) -> CheckThresholds:
    thresholds = CheckThresholds()
    for side in ("width", "height"):
        thresholds = thresholds.with_limit(side, warn=max(warn_below_px, reject_below_px), reject=reject_below_px)
    for angle in _ANGLES:
        warn = min(thresholds.limit(angle).warn, largest_angle)
        thresholds = thresholds.with_limit(angle, warn=warn, reject=largest_angle)
    return thresholds
