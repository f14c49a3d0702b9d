"""Select Faces: choose which faces go on."""

from dataclasses import replace

from comfy_api.latest import io

from ..gpen_core.select import FaceChoice, select_faces
from . import sockets


class SelectFaces(io.ComfyNode):
    """Chooses faces by number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_SelectFaces",
            display_name="Select Faces (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Chooses which faces of each picture are worked on: all, the largest, the second from the left … "
                "The others stay in the photo as they are."
            ),
            inputs=[
                sockets.FacesSocket.Input("faces", tooltip="Faces from Detect & Align Faces."),
                *sockets.choice_inputs("1"),
                io.Int.Input(
                    "smallest_face_px",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Faces smaller than this many pixels are left out before counting.",
                ),
            ],
            outputs=[
                sockets.FacesSocket.Output("selected", display_name="faces", tooltip="The chosen faces."),
                io.Image.Output(
                    "crops", tooltip="The chosen faces as pictures. Nothing runs behind it if no face was chosen."
                ),
                io.Int.Output("count", tooltip="How many faces were chosen in the whole batch."),
            ],
            **sockets.search_aliases("pick face", "filter faces", "choose face"),
        )

    @classmethod
    def execute(cls, faces: sockets.FaceSet, take: str, order: str, smallest_face_px: int) -> io.NodeOutput:
        """Choose."""
        chosen = select_faces(faces.crops, FaceChoice(take, sockets.ORDERS[order], smallest_face_px))
        selected = replace(faces, crops=tuple(chosen))
        return io.NodeOutput(selected, sockets.crop_images(selected), len(chosen))
