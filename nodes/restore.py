"""Restore Faces: redraw aligned faces."""

from dataclasses import replace

from comfy_api.latest import io

from ..gpen_core.models.descriptor import Restorer
from ..gpen_core.restore import restore_faces
from . import host, sockets
from .lease import NetworkNode


class RestoreFaces(NetworkNode):
    """Redraws aligned faces with GPEN."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_RestoreFaces",
            display_name="Restore Faces (GPEN)",
            category=sockets.CATEGORY,
            description="Redraws the faces that Detect & Align Faces cut out. Each face is shown as it is done.",
            inputs=[
                sockets.FacesSocket.Input("faces", tooltip="Faces from Detect & Align Faces."),
                sockets.RestorerSocket.Input(
                    "restorer",
                    optional=True,
                    tooltip="What redraws them: the same one the faces were aligned for. Embedded if left open.",
                ),
                sockets.batch_size_input(),
            ],
            outputs=[
                sockets.FacesSocket.Output("restored", display_name="faces", tooltip="The faces, restored."),
                io.Image.Output(
                    "crops", tooltip="The restored faces as pictures. Nothing runs behind it if there is no face."
                ),
            ],
            **sockets.search_aliases("GPEN", "face enhance", "face restoration", "人脸修复"),
        )

    @classmethod
    def execute(
        cls, faces: sockets.FaceSet, faces_at_once: int, restorer: host.Hosted[Restorer] | None = None
    ) -> io.NodeOutput:
        """Run the restorer."""
        hosted = restorer or sockets.hosted_restorer()
        progress = host.NodeProgress()
        progress.start(len(faces.crops), "Restoring faces")
        with host.on_device(hosted, activation_bytes=sockets.activation_bytes(hosted.model, faces_at_once)):
            crops = restore_faces(faces.crops, hosted.model, batch_size=faces_at_once, progress=progress)
        restored = replace(faces, crops=tuple(crops))
        return io.NodeOutput(restored, sockets.crop_images(restored))
