"""Restore Folder: every photo of a folder, one at a time."""

from pathlib import Path

from comfy_api.latest import io, ui

from .. import gpen_core
from ..gpen_core.batch import restore_folder
from ..gpen_core.detect import DetectSettings
from ..gpen_core.folder_gate import CheckGate
from ..gpen_core.folder_report import FolderReport
from ..gpen_core.folder_spec import FolderSpec, OutputSuffix
from ..gpen_core.paste import PasteSettings
from ..gpen_core.pipeline import NoFaceChoice, PortraitSettings
from ..gpen_core.select import FaceChoice
from . import host, sockets
from .lease import NetworkNode
from .report import describe_restorer

_SAMPLES = Path(gpen_core.__file__).parent / "samples"
_NO_FACE: sockets.Menu[NoFaceChoice] = sockets.Menu(
    {
        "pass the photo on": "keep",
        "treat the whole picture as a face": "whole",
        "reject the photo": "stop",
    }
)
_NO_FACE_TOOLTIP = (
    "What to do with a photo in which no face is found: write it unchanged, take the whole picture for one upright "
    "face (for crops made elsewhere), or write nothing and list it as rejected in the report. The others go on in "
    "any case."
)
_FORMATS: sockets.Menu[OutputSuffix] = sockets.Menu(
    {"as the photo": "same", "PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "WebP": ".webp"}
)


class RestoreFolder(NetworkNode):
    """Restores every photo of a folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_RestoreFolder",
            display_name="Restore Folder (GPEN)",
            category=sockets.CATEGORY,
            is_output_node=True,
            description=(
                "Restores every photo of a folder, one at a time, into a folder inside ComfyUI's output folder, with a "
                "report of what became of each. What is done already is skipped, so a stopped run goes on where it was."
            ),
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip=(
                        "The folder with the photos: a full path on the machine that runs ComfyUI, or a folder inside "
                        "its input folder. Empty takes the sample photo of this pack."
                    ),
                ),
                io.String.Input(
                    "output_folder",
                    default="restored",
                    tooltip="Where the results go: a folder inside ComfyUI's output folder. Sub-folders are kept.",
                ),
                sockets.restorer_menu(),
                sockets.strength_input(),
                sockets.area_menu(),
                sockets.no_face_menu(_NO_FACE, _NO_FACE_TOOLTIP),
                io.Combo.Input(
                    "format",
                    options=list(_FORMATS),
                    default="as the photo",
                    tooltip="The kind of file of the results.",
                ),
                io.Int.Input("quality", default=95, min=1, max=100, tooltip="Of JPEG and WebP results."),
                io.Boolean.Input("subfolders", default=True, tooltip="Also take the photos of sub-folders."),
                io.Boolean.Input(
                    "check_first",
                    default=False,
                    tooltip=(
                        "Check each photo first (see Check Photo): what the check rejects is not restored but listed "
                        "in the report, with what to ask of the client."
                    ),
                ),
                io.String.Input(
                    "pattern",
                    default="{name}",
                    tooltip=(
                        "File name of a result, without its ending: {name} is the photo's name, {ext} its ending, "
                        "{model} the network's name."
                    ),
                    **sockets.ADVANCED,
                ),
                sockets.detector_menu("detector", advanced=True),
                sockets.parser_menu(),
                sockets.smallest_face_input(),
                sockets.batch_size_input(),
                sockets.upscaler_menu(),
                *sockets.choice_inputs("all", optional=True),
                sockets.keep_detail_input(optional=True),
                sockets.min_score_input(optional=True),
            ],
            outputs=[
                io.String.Output("report", tooltip="How the run went."),
                io.String.Output(
                    "written_to", tooltip="The folder of the results; report.html in it shows all photos."
                ),
                io.Int.Output("restored", tooltip="How many photos were restored in this run."),
                io.Int.Output("failed", tooltip="How many photos could not be read or restored."),
            ],
            **sockets.search_aliases("batch", "bulk restore", "folder of photos", "批量修复"),
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> float:
        """Look at the folder again each time: its photos may have changed."""
        return float("nan")

    @classmethod
    def execute(
        cls,
        folder: str,
        output_folder: str,
        model: str,
        strength: float,
        area: str,
        no_face: str,
        format: str,
        quality: int,
        subfolders: bool,
        check_first: bool,
        pattern: str,
        detector: str,
        parser: str,
        smallest_face_px: int,
        faces_at_once: int,
        upscaler: str = sockets.SAME_SIZE,
        take: str = "all",
        order: str = "largest first",
        keep_detail: float = 1.0,
        min_score: float = 0.8,
    ) -> io.NodeOutput:
        """Restore the photos."""
        spec = FolderSpec(
            source=host.photo_folder(folder) if folder.strip() else _SAMPLES,
            output=host.output_folder(output_folder),
            pattern=pattern,
            suffix=_FORMATS[format],
            recursive=subfolders,
            quality=quality,
        )
        settings = PortraitSettings(
            detect=DetectSettings(score_threshold=min_score),
            paste=PasteSettings(strength=strength, keep_detail=keep_detail),
            mask_area=sockets.AREAS[area],
            on_no_face=_NO_FACE[no_face],
            choice=FaceChoice(take, sockets.ORDERS[order]),
            smallest_face_px=smallest_face_px,
            batch_size=faces_at_once,
        )
        with sockets.team_on_device(model, detector, parser, upscaler, faces_at_once) as team:
            report = restore_folder(
                spec,
                team.detector,
                team.restorer,
                settings,
                parser=team.parser,
                upscaler=team.upscaler,
                gate=CheckGate(detector=team.detector) if check_first else None,
                progress=host.NodeProgress(),
            )
        words = f"{report.summary()}\n{describe_restorer(team.restorer)}"
        return io.NodeOutput(words, str(report.output), report.restored, report.failed, ui=_shown(report))


def _shown(report: FolderReport) -> ui.PreviewText:
    return ui.PreviewText(report.summary())
