"""Print Upscale and Save Print: from a photo to a file of exact physical size."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from comfy_api.latest import io, ui

from ..gpen_core.color import on_white
from ..gpen_core.errors import SettingsError
from ..gpen_core.papers import PAPERS, Paper
from ..gpen_core.print_files import write_print
from ..gpen_core.printing import PrintSheet, PrintSpec, lay_out
from ..gpen_core.sharpen import Sharpening
from ..gpen_core.types import Face
from . import convert, host, sockets
from .lease import NetworkNode

_BY_SCALE = "by scale"
_OWN_SIZE = "own size in mm"
_SRGB = "sRGB"
_FORMATS = sockets.Menu(
    {"PNG": ".png", "PNG 16 bit": ".png", "JPEG": ".jpg", "TIFF": ".tif", "TIFF 16 bit": ".tif", "PDF": ".pdf"}
)
_SHOWN_BY_BROWSERS = (".png", ".jpg")


class PrintUpscale(NetworkNode):
    """Enlarges photos for print, by a scale or to a paper."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_PrintUpscale",
            display_name="Print Upscale (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Enlarges a photo for print: by a factor, or to a paper in millimetres with bleed. A photo that "
                "fills the paper is cut so that faces stay inside. A light sharpening makes up for the enlargement."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or a batch of photos."),
                sockets.FacesSocket.Input(
                    "faces",
                    optional=True,
                    tooltip=(
                        "Faces to keep inside the paper: the selected ones, or all of a picture of which none is "
                        "selected. If left open, they are found."
                    ),
                ),
                io.Combo.Input(
                    "paper",
                    options=[_BY_SCALE, *PAPERS, _OWN_SIZE],
                    default=_BY_SCALE,
                    tooltip="The trimmed paper; or enlarge by a factor; or give a size of your own.",
                ),
                _number("scale", 1.5, (0.1, 16.0, 0.05), 'Enlargement, for "by scale".'),
                _number("dpi", 0.0, (0.0, 4800.0, 1.0), "Dots per inch; 0 takes what suits the paper, mostly 300."),
                io.Combo.Input(
                    "crop",
                    options=["fill", "fit"],
                    default="fill",
                    tooltip="Fill the paper and cut what stands over, or fit the whole photo and leave white margins.",
                ),
                _number(
                    "bleed_mm",
                    0.0,
                    (0.0, 100.0, 0.5),
                    "What is printed beyond each edge of the paper and trimmed off; needs a paper.",
                ),
                _number("width_mm", 100.0, (1.0, 10_000.0, 1.0), 'Width for "own size in mm".', advanced=True),
                _number("height_mm", 150.0, (1.0, 10_000.0, 1.0), 'Height for "own size in mm".', advanced=True),
                io.Combo.Input(
                    "resampling",
                    options=["bicubic", "lanczos"],
                    default="bicubic",
                    tooltip="How pixels are made up when enlarging. Lanczos is crisper and rings a little.",
                    **sockets.ADVANCED,
                ),
                _number(
                    "sharpening",
                    Sharpening().strength,
                    (0.0, 2.0, 0.05),
                    "How much the result is sharpened; 0 not at all. Halos stay within a limit.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output("enlarged", display_name="image", tooltip="The sheets as pictures, bleed included."),
                sockets.SheetsSocket.Output("sheets", tooltip="The sheets with their physical size, for Save Print."),
                io.String.Output("report", tooltip="Size, resolution and warnings."),
            ],
            **sockets.search_aliases("upscale", "enlarge", "DPI", "paper size", "ID photo", "A4", "打印放大"),
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        paper: str,
        scale: float,
        dpi: float,
        crop: str,
        bleed_mm: float,
        width_mm: float,
        height_mm: float,
        resampling: str,
        sharpening: float,
        faces: sockets.FaceSet | None = None,
    ) -> io.NodeOutput:
        """Lay each picture out."""
        frames = convert.from_image(image)
        pixels = on_white(frames.pixels, frames.alpha)
        own = Paper(width_mm, height_mm, may_turn=False) if paper == _OWN_SIZE else PAPERS.get(paper)
        spec = PrintSpec(
            scale=scale,
            paper=own,
            dpi=dpi or None,
            bleed_mm=bleed_mm,
            crop="fit" if crop == "fit" else "fill",
            resampling="lanczos" if resampling == "lanczos" else "bicubic",
            sharpening=Sharpening(strength=sharpening),
        )
        found = sockets.faces_in(faces, pixels) if faces else _faces_to_keep(pixels, spec)
        sheets = [
            lay_out(one, spec, [face.box for face in here])
            for one, here in host.in_turn(zip(pixels, found, strict=True), "Laying out")
        ]
        return io.NodeOutput(
            host.to_output(convert.to_image([sheet.pixels for sheet in sheets])),
            tuple(sheets),
            "\n".join(_describe(sheet, number) for number, sheet in enumerate(sheets, 1)),
        )


class SavePrint(io.ComfyNode):
    """Writes print sheets with their physical size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_SavePrint",
            display_name="Save Print (GPEN)",
            category=sockets.CATEGORY,
            is_output_node=True,
            description=(
                "Saves print sheets in ComfyUI's output folder with exact resolution and colour profile: PNG, JPEG, "
                "TIFF or PDF; CMYK if an output profile of a press is chosen. PNG files carry the workflow."
            ),
            inputs=[
                sockets.SheetsSocket.Input("sheets", tooltip="Sheets from Print Upscale."),
                io.String.Input(
                    "filename_prefix",
                    default="print/portrait",
                    tooltip="Name of the files, with sub-folders of the output folder; %year%-%month%-%day% works.",
                ),
                io.Combo.Input("format", options=list(_FORMATS), default="PNG", tooltip="The kind of file."),
                io.Int.Input("quality", default=95, min=1, max=100, tooltip="Of JPEG, and of the picture in a PDF."),
                io.Combo.Input(
                    "profile",
                    options=[_SRGB, *host.profile_files()],
                    default=_SRGB,
                    tooltip=(
                        "The colours of the file: sRGB, or the profile of a press or printer from "
                        "models/icc_profiles (TIFF and PDF; a CMYK profile gives a CMYK file)."
                    ),
                    **sockets.ADVANCED,
                ),
            ],
            outputs=[io.String.Output("paths", tooltip="Where the files are, one a line.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            **sockets.search_aliases("save image", "DPI", "PDF", "CMYK", "TIFF", "export"),
        )

    @classmethod
    def fingerprint_inputs(cls, profile: str | None = None, **_: object) -> object:
        """Run again when the profile's file was exchanged under its name."""
        return host.fingerprint(None if profile in (None, _SRGB) else host.profile_file(profile))

    @classmethod
    def execute(
        cls,
        sheets: Sequence[PrintSheet],
        filename_prefix: str,
        format: str,
        quality: int,
        profile: str,
    ) -> io.NodeOutput:
        """Write each sheet."""
        suffix, bits = _FORMATS[format], 16 if format.endswith("16 bit") else 8
        press = None if profile == _SRGB else host.profile_file(profile)
        paths: list[Path] = []
        for sheet in host.in_turn(sheets, "Saving"):
            path = host.next_output_path(filename_prefix, suffix, sheet.pixels.shape[1], sheet.pixels.shape[2])
            text = _embedded(cls) if suffix == ".png" else None
            paths.append(
                write_print(
                    path,
                    sheet,
                    output_profile=press,
                    quality=quality,
                    bit_depth=16 if bits == 16 else 8,
                    text=text,
                    overwrite=False,
                )
            )
        shown = _shown(cls, paths, sheets)
        return io.NodeOutput("\n".join(str(path) for path in paths), ui=shown)


def _number(
    name: str, default: float, span: tuple[float, float, float], tooltip: str, *, advanced: bool = False
) -> io.Float.Input:
    low, high, step = span
    extra = sockets.ADVANCED if advanced else {}
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip, **extra)


def _faces_to_keep(pixels: torch.Tensor, spec: PrintSpec) -> Sequence[Sequence[Face]]:
    """Find the faces, if there is a paper whose edge could cut them."""
    return [[] for _ in pixels] if spec.paper is None or spec.crop == "fit" else sockets.find_faces(pixels)


def _describe(sheet: PrintSheet, number: int) -> str:
    width, height = sheet.size_mm
    lines = [
        f"sheet {number}: {sheet.pixels.shape[2]} x {sheet.pixels.shape[1]} pixels, {width:.1f} x {height:.1f} mm at "
        f"{sheet.dpi:g} dpi, enlarged x{sheet.enlargement:.2f}, the photo itself gives {sheet.effective_dpi:.0f} dpi"
    ]
    return "\n".join([*lines, *(f"  warning: {warning}" for warning in sheet.warnings)])


def _embedded(cls: type[io.ComfyNode]) -> dict[str, str] | None:
    """Give what ComfyUI's own Save Image writes into a PNG, unless ComfyUI was told to leave it out."""
    if not host.embeds_workflows():
        return None
    words = {"prompt": json.dumps(cls.hidden.prompt)} if cls.hidden.prompt else {}
    extra = cls.hidden.extra_pnginfo or {}
    return words | {key: json.dumps(value) for key, value in extra.items()}


def _shown(
    cls: type[io.ComfyNode], paths: Sequence[Path], sheets: Sequence[PrintSheet]
) -> ui.SavedImages | ui.PreviewImage:
    """Show the files themselves, or a picture of each sheet where a browser cannot show the file."""
    if not paths:
        raise SettingsError("expected at least one sheet to save, got none")
    if paths[0].suffix in _SHOWN_BY_BROWSERS:
        return ui.SavedImages([ui.SavedResult(*host.output_entry(path), io.FolderType.output) for path in paths])
    return ui.PreviewImage(convert.to_image([sheet.pixels for sheet in sheets]), cls=cls)
