"""Paste Faces: blend restored faces back into their photo."""

import torch
from comfy_api.latest import io

from ..gpen_core.errors import ShapeError
from ..gpen_core.masks import FaceMask, MaskArea, face_mask
from ..gpen_core.models.facemesh import FaceMesh, load_face_mesh
from ..gpen_core.models.faceparsing import FaceParser
from ..gpen_core.paste import PasteSettings, paste_faces
from ..gpen_core.types import FaceCrop
from . import convert, host, sockets
from .report import describe_pasted


class PasteFaces(io.ComfyNode):
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
            ],
            outputs=[
                io.Image.Output("restored", display_name="image", tooltip="The photo with its faces restored."),
                io.Mask.Output("mask", tooltip="How much of each pixel comes from the restorer."),
                io.String.Output("report", tooltip="What became of each face."),
            ],
            **sockets.search_aliases("uncrop face", "blend face", "paste back"),
        )

    @classmethod
    def fingerprint_inputs(cls, parser: str, **_: object) -> object:
        """Run again when the parser's file was exchanged under its name."""
        return host.fingerprint(sockets.parser_path(parser))

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
    ) -> io.NodeOutput:
        """Make the masks and blend."""
        frames = convert.from_image(image)
        if len(frames.pixels) != len(faces.found):
            raise ShapeError(
                f"expected the batch of {len(faces.found)} pictures that the faces were cut from, "
                f"got {len(frames.pixels)}"
            )
        settings = PasteSettings(strength, keep_detail, soften_below_px)
        progress = host.NodeProgress()
        progress.start(len(frames.pixels), "Pasting faces")
        mesh = load_face_mesh()
        pasted, masks, texts = [], [], []
        with sockets.parser_on_device(parser) as face_parser:
            for index, pixels in enumerate(frames.pixels):
                crops = sockets.faces_of(faces.crops, index)
                soft = [_mask(crop, pixels, faces, face_parser, mesh, sockets.AREAS[area]) for crop in crops]
                result, shown = paste_faces(pixels, crops, [mask.pixels for mask in soft], settings)
                pasted.append(result)
                masks.append(shown)
                texts.append(describe_pasted(faces.found[index], crops, index + 1))
                progress.advance()
        return io.NodeOutput(
            host.to_output(convert.to_image(pasted, frames.alpha)),
            host.to_output(convert.to_mask(masks)),
            "\n".join(texts),
        )


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
