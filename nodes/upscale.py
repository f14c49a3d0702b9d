"""Upscale Background: the picture behind restored faces, enlarged by a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy_api.latest import io

from ..gpen_core.errors import SettingsError
from ..gpen_core.geometry import enlarge
from ..gpen_core.upscale import PictureUpscaler, upscale_photo
from . import convert, host, sockets
from .lease import NetworkNode


class UpscaleBackground(NetworkNode):
    """Enlarges a picture twice: by a network for the background, and plainly for the faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_UpscaleBackground",
            display_name="Upscale Background (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Enlarges a picture by an upscale network, tile by tile without seams, as a background for restored "
                "faces: these come from the photo, so that the upscaler never changes a face."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or a batch of photos."),
                sockets.upscaler_menu(),
                io.UpscaleModel.Input(
                    "upscale_model",
                    optional=True,
                    tooltip=(
                        "In place of the menu: any network of ComfyUI's own Load Upscale Model, of every kind it knows."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    "background", tooltip="Enlarged by the network: for the input background of Paste Faces."
                ),
                io.Image.Output(
                    "enlarged",
                    tooltip=(
                        "Enlarged by plain interpolation: for Detect & Align Faces, which finds small faces better in "
                        "it."
                    ),
                ),
                io.Int.Output("scale", tooltip="How many times larger both are."),
            ],
            **sockets.search_aliases("upscale", "ESRGAN", "Real-ESRGAN", "super resolution", "背景放大"),
        )

    @classmethod
    def fingerprint_inputs(cls, upscaler: str | None = sockets.SAME_SIZE, **_: object) -> object:
        """Run again when the file was exchanged under its name."""
        return sockets.fingerprint(upscaler=upscaler)

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        upscaler: str = sockets.SAME_SIZE,
        upscale_model: Any = None,  # noqa: ANN401 (ComfyUI's own type)
    ) -> io.NodeOutput:
        """Enlarge each picture of the batch."""
        frames = convert.from_image(image)
        with _chosen(upscaler, upscale_model) as network:
            backgrounds = [
                upscale_photo(pixels, network, progress=host.NodeProgress(index, len(frames.pixels)))
                for index, pixels in enumerate(frames.pixels)
            ]
            scale = network.scale
        alpha = convert.enlarged_alpha(frames, scale)
        enlarged = enlarge(frames.pixels, scale)
        return io.NodeOutput(
            host.to_output(convert.to_image(backgrounds, alpha)),
            host.to_output(convert.to_image(enlarged, alpha)),
            scale,
        )


@contextmanager
def _chosen(upscaler: str, upscale_model: Any) -> Iterator[PictureUpscaler]:  # noqa: ANN401 (ComfyUI's own type)
    if upscale_model is not None:
        with host.given_upscaler(upscale_model) as given:
            yield given
        return
    with sockets.upscaler_on_device(upscaler) as network:
        if network is None:
            raise SettingsError(
                "no upscaler was chosen: put an ESRGAN file, e.g. RealESRGAN_x2plus.pth, into models/upscale_models, "
                "press R and choose it, or connect Load Upscale Model"
            )
        yield network
