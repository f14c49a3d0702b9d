"""Skin Tone: livelier, warmer or lighter skin, or the complexion of the original."""

import torch
from comfy_api.latest import io

from ..gpen_core.errors import ShapeError
from ..gpen_core.skin import skin_mask
from ..gpen_core.tone import ToneSpec, apply_tone
from . import convert, host, sockets
from .lease import NetworkNode

_SLIDERS = (
    (
        "saturation",
        1.15,
        (0.0, 3.0, 0.05),
        "Factor on the colourfulness of skin: 1 changes nothing, 1.15 makes it livelier. The hue stays the same, and "
        "black-and-white photos stay black and white.",
    ),
    (
        "lift",
        0.0,
        (-0.25, 0.25, 0.01),
        "Makes the skin lighter or darker: this much in the middle tones, fading towards black and white.",
    ),
    ("warmth", 0.0, (-1.0, 1.0, 0.05), "Turns the skin towards orange (above 0) or blue (below 0)."),
    (
        "protect_highlights",
        0.8,
        (0.0, 1.0, 0.05),
        "How far shiny spots are kept from gaining colour or light, so that skin does not look oily.",
    ),
    (
        "match_original",
        0.0,
        (0.0, 1.0, 0.05),
        'How far the skin takes on the colour it had in "original" first, so that restoring never changes a '
        "complexion. Needs the original.",
    ),
)


class SkinTone(NetworkNode):
    """Tones skin inside a soft mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_SkinTone",
            display_name="Skin Tone (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Makes skin a little livelier, warmer or lighter without changing its hue, and can give a restored "
                "face the complexion of the original photo. Nothing outside the skin changes."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or a batch of photos."),
                io.Image.Input(
                    "original",
                    optional=True,
                    tooltip="The photo before restoring, of the same size; for match_original.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where to work. If left open, the skin of all faces is found."
                ),
                *[
                    io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)
                    for name, default, (low, high, step), tooltip in _SLIDERS
                ],
            ],
            outputs=[
                io.Image.Output("toned", display_name="image", tooltip="The photo with its skin toned."),
                io.Mask.Output("skin", tooltip="Where it was toned."),
            ],
            **sockets.search_aliases("skin color", "complexion", "saturation", "肤色"),
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        saturation: float,
        lift: float,
        warmth: float,
        protect_highlights: float,
        match_original: float,
        original: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        """Find the skin, then tone it."""
        frames = convert.from_image(image)
        before = None if original is None else convert.from_image(original).pixels
        if before is not None and before.shape != frames.pixels.shape:
            raise ShapeError(
                f"expected an original of the image's shape {tuple(frames.pixels.shape)}, got {tuple(before.shape)}"
            )
        spec = ToneSpec(saturation, lift, warmth, protect_highlights, match_original)
        size = (frames.pixels.shape[2], frames.pixels.shape[3])
        found = sockets.find_faces(frames.pixels) if mask is None else []
        given = None if mask is None else convert.from_mask(mask, len(frames.pixels), size)
        toned, skin = [], []
        for index, pixels in host.in_turn(enumerate(frames.pixels), "Toning skin"):
            skin.append(skin_mask(pixels, found[index]) if given is None else given[index])
            toned.append(apply_tone(pixels, skin[-1], spec, None if before is None else before[index]))
        return io.NodeOutput(
            host.to_output(convert.to_image(toned, frames.alpha)), host.to_output(convert.to_mask(skin))
        )
