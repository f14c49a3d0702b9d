"""Free Memory: let go of networks in the middle of a workflow."""

import gc
from typing import Any

from comfy_api.latest import io

from . import host, sockets


class FreeMemory(io.ComfyNode):
    """Passes any value through and frees memory on the way."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_FreeMemory",
            display_name="Free Memory (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Passes anything through unchanged and frees memory at that point of the workflow: the networks of "
                "this pack, or every network that ComfyUI holds, e.g. before a large upscale."
            ),
            inputs=[
                io.AnyType.Input("value", tooltip="Anything; it comes out as it went in."),
                io.Combo.Input(
                    "free",
                    options=["this pack's networks", "every network"],
                    default="this pack's networks",
                    tooltip=(
                        "What to let go of: the face networks of this pack, from GPU and main memory (what a loader "
                        "node gave stays in main memory as long as ComfyUI keeps it); or also all other networks that "
                        "ComfyUI keeps on the GPU, which it loads again when they are needed."
                    ),
                ),
            ],
            outputs=[
                io.AnyType.Output("passed", display_name="value", tooltip="What came in."),
                io.Int.Output("freed", tooltip="How many networks of this pack were let go."),
            ],
            **sockets.search_aliases("unload models", "clear VRAM", "purge", "free VRAM"),
        )

    @classmethod
    def execute(cls, value: Any, free: str) -> io.NodeOutput:  # noqa: ANN401 (anything may pass)
        """Free, then pass the value on."""
        freed = host.release_models()
        if free == "every network":
            host.unload_everything()
        gc.collect()
        return io.NodeOutput(value, freed)
