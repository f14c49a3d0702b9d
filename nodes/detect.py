"""Detect & Align Faces: find the faces of a batch and cut them out upright."""

import torch
from comfy_api.latest import io

from ..gpen_core.align import align_face
from ..gpen_core.detect import DetectSettings, detect_faces
from ..gpen_core.errors import NoFaceError
from ..gpen_core.models.descriptor import Restorer
from ..gpen_core.models.retinaface import FaceDetector
from ..gpen_core.pipeline import whole_picture_crop
from . import convert, host, sockets
from .lease import NetworkNode


class DetectAlignFaces(NetworkNode):
    """Finds faces and cuts them out, upright, at the size a restorer wants."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_DetectAlignFaces",
            display_name="Detect & Align Faces (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Finds the faces of each picture and turns them upright into square crops, at the size and alignment "
                "the restorer was trained on. Pictures of a batch may hold different numbers of faces."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The photo, or a batch of photos."),
                sockets.RestorerSocket.Input(
                    "restorer",
                    optional=True,
                    tooltip="The restorer the crops are for: it says their size and alignment. Embedded if left open.",
                ),
                sockets.DetectorSocket.Input(
                    "detector", optional=True, tooltip="What finds the faces. The embedded RetinaFace if left open."
                ),
                sockets.no_face_menu(),
                io.Int.Input(
                    "max_faces",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Take only the largest so many faces of each picture; 0 takes all.",
                ),
                sockets.min_score_input(),
                sockets.smallest_face_input(),
            ],
            outputs=[
                sockets.FacesSocket.Output("faces", tooltip="The faces, for Restore Faces and Paste Faces."),
                io.Image.Output(
                    "crops", tooltip="The faces as pictures. Nothing runs behind this output if there is no face."
                ),
                sockets.BoxesSocket.Output("boxes", tooltip="Where the faces are, as ComfyUI's own nodes take it."),
                io.Int.Output("count", tooltip="How many faces were cut out in the whole batch."),
            ],
            **sockets.search_aliases("face detection", "face crop", "align face", "RetinaFace", "人脸检测"),
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        no_face: str,
        max_faces: int,
        min_score: float,
        smallest_face_px: int,
        restorer: host.Hosted[Restorer] | None = None,
        detector: host.Hosted[FaceDetector] | None = None,
    ) -> io.NodeOutput:
        """Detect, then cut out."""
        frames = convert.from_image(image)
        model = (restorer or sockets.hosted_restorer()).model
        finder = detector or sockets.hosted_detector()
        settings = DetectSettings(score_threshold=min_score, max_faces=max_faces or None)
        with host.on_device(finder):
            found = detect_faces(frames.pixels, finder.model, settings, host.NodeProgress())
        whole = frozenset(index for index, faces in enumerate(found) if not faces)
        choice = sockets.NO_FACE[no_face]
        if whole and choice == "stop":
            raise NoFaceError(
                f"no face was found in picture {min(whole) + 1} of {len(found)}; choose a photo with a visible face, "
                'lower min_score, or let "no_face" pass such photos on'
            )
        crops = []
        for index, (pixels, faces) in enumerate(zip(frames.pixels, found, strict=True)):
            wanted = [face for face in faces if face.box.size >= smallest_face_px]
            crops += [align_face(pixels, face, model.size, model.template, index) for face in wanted]
            if not faces and choice == "whole":
                crops.append(whole_picture_crop(pixels, model, index))
        faces_out = sockets.FaceSet(
            tuple(tuple(faces) for faces in found),
            (frames.pixels.shape[2], frames.pixels.shape[3]),
            tuple(crops),
            whole if choice == "whole" else frozenset(),
        )
        return io.NodeOutput(faces_out, sockets.crop_images(faces_out), convert.to_boxes(found), len(crops))
