"""Paste Faces: blend restored faces back into their photo."""

from dataclasses import replace

import torch
from comfy_api.latest import io

from ..gpen_core.align import crop_of_size, enlarged_crop
from ..gpen_core.errors import ShapeError
from ..gpen_core.geometry import enlarge
from ..gpen_core.masks import FaceMask, MaskArea, face_mask
from ..gpen_core.models.facemesh import FaceMesh, load_face_mesh
from ..gpen_core.models.faceparsing import FaceParser
from ..gpen_core.paste import PasteSettings, paste_faces, times_larger
from ..gpen_core.types import FaceCrop
from . import convert, host, sockets
from .lease import NetworkNode
from .report import describe_pasted


class PasteFaces(NetworkNode):
    """Blends restored faces back into their photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_PasteFaces",
            display_name="Paste Faces (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Blends restored faces back into the photo they were cut from, with a soft edge that follows the face. "
                "Everything outside the mask stays exactly as it was."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or the batch, that the faces were cut from."),
                sockets.FacesSocket.Input("faces", tooltip="Faces from Restore Faces."),
                sockets.strength_input(),
                sockets.area_menu(),
                sockets.parser_menu(),
                sockets.keep_detail_input(),
                io.Int.Input(
                    "soften_below_px",
                    default=100,
                    min=0,
                    max=4096,
                    tooltip=(
                        "Faces smaller than this get a slight blur, since redrawn detail is too crisp for so small a "
                        "face's surroundings. 0 never blurs."
                    ),
                    **sockets.ADVANCED,
                ),
                io.Image.Input(
                    "background",
                    optional=True,
                    tooltip=(
                        "A larger picture of the same view to paste onto, from Upscale Background or any other "
                        "upscaler: a whole number of times the size of the image. Without it, faces are pasted onto "
                        "the image itself."
                    ),
                ),
                io.Image.Input(
                    "crops",
                    optional=True,
                    lazy=True,
                    tooltip=(
                        "Other pictures of the faces, in place of their own: the output crops of Restore Faces or "
                        "Select Faces after any other node (a sampler, another restorer, retouching), one for each "
                        "face, square, of any size."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("restored", display_name="image", tooltip="The photo with its faces restored."),
                io.Mask.Output("mask", tooltip="How much of each pixel comes from the restorer."),
                io.String.Output("report", tooltip="What became of each face."),
            ],
            **sockets.search_aliases("uncrop face", "blend face", "paste back"),
        )

    @classmethod
    def fingerprint_inputs(cls, parser: str | None, **_: object) -> object:
        """Run again when the parser's file was exchanged under its name."""
        return sockets.fingerprint(parser=parser)

    @classmethod
    def check_lazy_status(cls, faces: sockets.FaceSet, **inputs: object) -> list[str]:
        """Ask for the crops only if there are faces: without any, what gives crops does not run, and would block.

        ComfyUI gives None for what is connected and has not run, and nothing for what is not connected.
        """
        waiting = "crops" in inputs and inputs["crops"] is None
        return ["crops"] if waiting and faces.crops else []

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        faces: sockets.FaceSet,
        strength: float,
        area: str,
        parser: str,
        keep_detail: float,
        soften_below_px: int,
        background: torch.Tensor | None = None,
        crops: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        """Make the masks and blend."""
        frames = convert.from_image(image)
        if crops is not None:
            faces = _redrawn(faces, convert.from_image(crops).pixels)
        onto = frames if background is None else convert.from_image(background)
        scale = _scale(frames, onto, faces)
        settings = PasteSettings(strength, keep_detail, soften_below_px)
        mesh = load_face_mesh()
        pasted, masks, texts = [], [], []
        with sockets.parser_on_device(parser) as face_parser:
            for index, pixels in host.in_turn(enumerate(frames.pixels), "Pasting faces"):
                here = [enlarged_crop(crop, scale) for crop in sockets.faces_of(faces.crops, index)]
                view = enlarge(pixels[None], times_larger(pixels, onto.pixels[index]))[0]
                soft = [_mask(crop, view, faces, face_parser, mesh, sockets.AREAS[area]) for crop in here]
                result, shown = paste_faces(
                    pixels, here, [mask.pixels for mask in soft], settings, background=onto.pixels[index]
                )
                pasted.append(result)
                masks.append(shown)
                texts.append(describe_pasted(faces.found[index], here, index + 1))
        return io.NodeOutput(
            host.to_output(convert.to_image(pasted, onto.alpha)),
            host.to_output(convert.to_mask(masks)),
            "\n".join(texts),
        )


def _redrawn(faces: sockets.FaceSet, pictures: torch.Tensor) -> sockets.FaceSet:
    """Put other pictures (N, 3, S, S) in place of the faces' own, in their order."""
    count, _, height, width = pictures.shape
    if count != len(faces.crops) or height != width:
        raise ShapeError(
            f"expected one square picture for each of the {len(faces.crops)} faces in crops, as the output crops gives "
            f"them, got {count} of {width}x{height}"
        )
    crops = [crop_of_size(crop, picture) for crop, picture in zip(faces.crops, pictures, strict=True)]
    return replace(faces, crops=tuple(crops))


def _scale(frames: convert.Frames, onto: convert.Frames, faces: sockets.FaceSet) -> int:
    """Tell how many times larger the result is than the pictures the faces were cut from."""
    counts = (len(faces.found), len(frames.pixels), len(onto.pixels))
    if len(set(counts)) > 1:
        raise ShapeError(
            f"expected the batch of {counts[0]} pictures that the faces were cut from, got {counts[1]}, to be pasted "
            f"onto {counts[2]}"
        )
    size, cut_from = tuple(onto.pixels.shape[2:]), faces.size
    scale = size[1] // cut_from[1]
    if size != (cut_from[0] * scale, cut_from[1] * scale):
        raise ShapeError(
            f"the faces were cut from pictures of {cut_from[1]}x{cut_from[0]} pixels and cannot be pasted onto "
            f"{size[1]}x{size[0]}: expected the same size or a whole number of times larger"
        )
    return scale


def _mask(
    crop: FaceCrop,
    pixels: torch.Tensor,
    faces: sockets.FaceSet,
    parser: FaceParser | None,
    mesh: FaceMesh,
    area: MaskArea,
) -> FaceMask:
    if crop.image_index in faces.whole:
        return FaceMask(torch.ones(crop.size, crop.size), "picture")
    return face_mask(crop, pixels, parser=parser, mesh=mesh, area=area)
