"""Sample Portrait: a photo to try the pack on."""

from pathlib import Path

from comfy_api.latest import io, ui

from .. import gpen_core
from . import convert, host, sockets

_SAMPLE = Path(gpen_core.__file__).parent / "samples" / "astronaut_poor.jpg"


class SamplePortrait(io.ComfyNode):
    """Gives the example photo that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_SamplePortrait",
            display_name="Sample Portrait (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "The example photo that comes with the pack (NASA, public domain, made poor on purpose), so that a "
                "workflow runs at once. Put Load Image in its place for your own photos."
            ),
            inputs=[],
            outputs=[io.Image.Output("image", tooltip="The photo, 512 x 512 pixels.")],
            **sockets.search_aliases("example photo", "test portrait"),
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Read the photo."""
        image = host.to_output(convert.to_image(gpen_core.read_photo(_SAMPLE).pixels[None]))
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))
