"""Before/After: both pictures on one sheet, and under a slider where the page has one."""

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..gpen_core.compare import (
    CHINESE,
    ENGLISH,
    ComparePair,
    CompareSpec,
    Layout,
    SheetSpec,
    before_after,
    contact_sheet,
)
from ..gpen_core.errors import ShapeError
from . import convert, host, sockets

_LAYOUTS: sockets.Menu[Layout] = sockets.Menu(
    {"side by side": "side", "split in one picture": "split", "zoom on the faces": "zoom"}
)
_CONTACT_SHEET = "contact sheet of the batch"
_CAPTIONS = sockets.Menu({"Before / After": ENGLISH, "修复前 / 修复后": CHINESE, "none": ("", "")})


class BeforeAfter(io.ComfyNode):
    """Shows a picture before and after."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        # The page's own slider, in the versions that have it; last, since it holds no value that a workflow stores.
        slider = (
            [io.ImageCompare.Input("compare_view", optional=True, tooltip="Move to compare.")] if _has_slider() else []
        )
        return io.Schema(
            node_id="GPEN_BeforeAfter",
            display_name="Before/After (GPEN)",
            category=sockets.CATEGORY,
            is_output_node=True,
            description=(
                "Puts a photo before and after on one sheet for the client, with captions. The restored side is never "
                "resampled. On the node itself both can be compared with a slider."
            ),
            inputs=[
                io.Image.Input("before", tooltip="The photo as it came."),
                io.Image.Input("after", tooltip="The photo as it is now; its size may differ."),
                sockets.FacesSocket.Input(
                    "faces",
                    optional=True,
                    tooltip=(
                        "Where the faces are, for the zoom: the selected ones, or all of a picture of which none is "
                        "selected."
                    ),
                ),
                io.Combo.Input(
                    "layout",
                    options=[*_LAYOUTS, _CONTACT_SHEET],
                    default="side by side",
                    tooltip=(
                        "Side by side; split by a line in one picture; the faces alone (connect faces; a picture "
                        "without one is shown whole); or all pictures of the batch on one sheet."
                    ),
                ),
                io.Combo.Input(
                    "captions",
                    options=list(_CAPTIONS),
                    default=next(iter(_CAPTIONS)),
                    tooltip="What stands over the two sides.",
                ),
                io.Boolean.Input("dark", default=False, tooltip="A black ground instead of a white one."),
                *slider,
            ],
            outputs=[
                io.Image.Output("sheets", is_output_list=True, tooltip="One sheet per photo, or the contact sheet.")
            ],
            **sockets.search_aliases("compare images", "side by side", "contact sheet", "对比"),
        )

    @classmethod
    def execute(
        cls,
        before: torch.Tensor,
        after: torch.Tensor,
        layout: str,
        captions: str,
        dark: bool,
        faces: sockets.FaceSet | None = None,
        compare_view: object = None,
    ) -> io.NodeOutput:
        """Lay out the sheets."""
        first, second = convert.from_image(before), convert.from_image(after)
        if len(first.pixels) != len(second.pixels):
            raise ShapeError(
                f"expected as many pictures before as after, got {len(first.pixels)} and {len(second.pixels)}"
            )
        pairs = [ComparePair(*pair) for pair in zip(first.pixels, second.pixels, strict=True)]
        if layout == _CONTACT_SHEET:
            sheets = [contact_sheet(pairs, SheetSpec(captions=_CAPTIONS[captions], dark=dark))]
        else:
            spec = CompareSpec(layout=_LAYOUTS[layout], captions=_CAPTIONS[captions], dark=dark)
            zooms = spec.layout == "zoom" and faces is not None
            found = sockets.faces_in(faces, second.pixels) if faces and zooms else [[] for _ in pairs]
            sheets = []
            for pair, boxes in host.in_turn(zip(pairs, found, strict=True), "Laying out"):
                # A picture of the batch without a face has nothing to zoom on.
                fitting = replace(spec, layout="side") if zooms and not boxes else spec
                sheets.append(before_after(pair.before, pair.after, fitting, faces=boxes))
        images = [host.to_output(convert.to_image(sheet[None])) for sheet in sheets]
        return io.NodeOutput(images, ui=_shown(cls, first, second, images))


def _has_slider() -> bool:
    return hasattr(io, "ImageCompare")


def _shown(
    cls: type[io.ComfyNode], first: convert.Frames, second: convert.Frames, sheets: list[torch.Tensor]
) -> dict[str, Any] | ui.PreviewImage:
    """Give the page the first sheet, and what its slider takes, if it has one."""
    shown = ui.PreviewImage(sheets[0], cls=cls)
    if not _has_slider():
        return shown
    sides = {"a_images": first, "b_images": second}
    return shown.as_dict() | {
        key: ui.PreviewImage(convert.to_image(frames.pixels), cls=cls).as_dict()["images"]
        for key, frames in sides.items()
    }
