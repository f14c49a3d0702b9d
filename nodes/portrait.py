"""Restore Portrait: the whole way from photo to restored photo in one node."""

import torch
from comfy_api.latest import io

from ..gpen_core.detect import DetectSettings
from ..gpen_core.paste import PasteSettings
from ..gpen_core.pipeline import PortraitSettings, restore_portrait
from ..gpen_core.select import FaceChoice
from . import convert, host, sockets
from .lease import NetworkNode
from .report import describe_run


class RestorePortrait(NetworkNode):
    """Finds every face of a photo, restores it and blends it back."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_RestorePortrait",
            display_name="Restore Portrait (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Restores every face of a photo in one step: finds the faces, redraws them with GPEN and blends them "
                "back. Everything outside the mask stays exactly as it was. Works on photos, scans and generated "
                "pictures, alone or in batches."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or a batch of photos. Grey and RGBA pictures work too."),
                sockets.restorer_menu(),
                sockets.strength_input(),
                sockets.area_menu(),
                sockets.no_face_menu(),
                sockets.detector_menu("detector", advanced=True),
                sockets.parser_menu(),
                sockets.keep_detail_input(),
                sockets.min_score_input(),
                sockets.smallest_face_input(),
                sockets.batch_size_input(),
                sockets.upscaler_menu(),
                *sockets.choice_inputs("all", optional=True),
            ],
            outputs=[
                io.Image.Output("restored", display_name="image", tooltip="The photo with its faces restored."),
                io.Mask.Output("mask", tooltip="How much of each pixel comes from the restorer."),
                io.Int.Output("faces", tooltip="How many faces were restored in the whole batch."),
                io.String.Output("report", tooltip="What became of each face, and which network ran."),
            ],
            **sockets.search_aliases(
                "face restore", "face enhance", "GPEN", "GFPGAN", "CodeFormer", "fix face", "人脸修复"
            ),
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        model: str | None,
        detector: str | None,
        parser: str | None,
        upscaler: str | None = sockets.SAME_SIZE,
        **_: object,
    ) -> object:
        """Run again when a weights file was exchanged under its name."""
        return sockets.fingerprint(restorer=model, detector=detector, parser=parser, upscaler=upscaler)

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        model: str,
        strength: float,
        area: str,
        no_face: str,
        detector: str,
        parser: str,
        keep_detail: float,
        min_score: float,
        smallest_face_px: int,
        faces_at_once: int,
        upscaler: str = sockets.SAME_SIZE,
        take: str = "all",
        order: str = "largest first",
    ) -> io.NodeOutput:
        """Restore each picture of the batch."""
        frames = convert.from_image(image)
        settings = PortraitSettings(
            detect=DetectSettings(score_threshold=min_score),
            paste=PasteSettings(strength=strength, keep_detail=keep_detail),
            mask_area=sockets.AREAS[area],
            on_no_face=sockets.NO_FACE[no_face],
            choice=FaceChoice(take, sockets.ORDERS[order]),
            smallest_face_px=smallest_face_px,
            batch_size=faces_at_once,
        )
        with sockets.team_on_device(model, detector, parser, upscaler, faces_at_once) as team:
            results = []
            for index, pixels in enumerate(frames.pixels):
                progress = host.NodeProgress(index, len(frames.pixels), parts=2 if team.upscaler else 1)
                results.append(
                    restore_portrait(
                        pixels,
                        team.detector,
                        team.restorer,
                        settings,
                        parser=team.parser,
                        upscaler=team.upscaler,
                        progress=progress,
                    )
                )
                progress.finish()
        alpha = convert.enlarged_alpha(frames, team.upscaler.scale if team.upscaler else 1)
        return io.NodeOutput(
            host.to_output(convert.to_image([result.pixels for result in results], alpha)),
            host.to_output(convert.to_mask([result.mask for result in results])),
            sum(result.restored for result in results),
            describe_run(results, team.restorer),
        )
