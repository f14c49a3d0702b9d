"""Load Restorer and Load Face Detector."""

from pathlib import Path

from comfy_api.latest import io

from ..gpen_core.errors import WeightsNotFoundError
from ..gpen_core.models.catalog import CATALOG, WeightsCard
from ..gpen_core.models.download import fetch
from ..gpen_core.models.load import load_restorer
from ..gpen_core.models.places import locate
from . import host, sockets
from .lease import NetworkNode

_PUBLISHED = {
    f"{card.name} (published, {card.licence.name.split(';')[-1].strip()})": card
    for card in CATALOG
    if card.role == "restorer" and card.is_usable
}
"""Menu entries for the published networks, whether they are on this machine or not."""

_STAYS = sockets.Menu({"free the GPU": False, "stay on the GPU": True})


def _after_run_menu() -> io.Combo.Input:
    return io.Combo.Input(
        "after_run",
        options=list(_STAYS),
        default="free the GPU",
        tooltip=(
            "Where the weights go after each run: off the GPU, so that nothing of ours stays there, or left on it for "
            "the next run until ComfyUI wants the space."
        ),
        **sockets.ADVANCED,
    )


class LoadRestorer(NetworkNode):
    """Loads the network that redraws faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_LoadRestorer",
            display_name="Load Restorer (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Loads a GPEN network. Its size, its width and the face template it needs are read from the file. "
                "The embedded network needs no download."
            ),
            inputs=[
                sockets.restorer_menu(*_PUBLISHED),
                io.Boolean.Input(
                    "fetch",
                    default=False,
                    tooltip=(
                        "Allow downloading the chosen published network, once, into models/gpen, checked for size and "
                        "content. Only for the entries marked published; mind their licence."
                    ),
                ),
                io.Combo.Input(
                    "precision",
                    options=list(sockets.PRECISION),
                    default=next(iter(sockets.PRECISION)),
                    tooltip="What the network computes in. Half precision saves memory, and bf16 on processors with "
                    "AMX half the time; on overflow fp32 steps in.",
                    **sockets.ADVANCED,
                ),
                _after_run_menu(),
            ],
            outputs=[sockets.RestorerSocket.Output("restorer", tooltip="For Detect & Align Faces and Restore Faces.")],
            **sockets.search_aliases("GPEN", "face restore model", "load GPEN"),
        )

    @classmethod
    def fingerprint_inputs(cls, model: str | None, **_: object) -> object:
        """Load again when the file was exchanged under its name."""
        return host.fingerprint(None if model is None else _found(model))

    @classmethod
    def execute(cls, model: str, fetch: bool, precision: str, after_run: str) -> io.NodeOutput:
        """Find or fetch the file, and load it."""
        path = _found(model) or _fetched(_PUBLISHED[model], allowed=fetch)
        dtype, stays = sockets.PRECISION[precision], _STAYS[after_run]
        return io.NodeOutput(host.hosted("restorer", load_restorer, path, dtype, stays=stays))


def _found(model: str) -> Path | None:
    """Find the file of a menu entry; None for a published network that is not on this machine."""
    if model in _PUBLISHED:
        return locate(_PUBLISHED[model], host.restorer_places())
    return sockets.restorer_path(model)


def _fetched(card: WeightsCard, *, allowed: bool) -> Path:
    if not allowed:
        raise WeightsNotFoundError(
            f'{card.name} is not on this machine. Switch "fetch" on to download it into {host.fetch_folder()} '
            f"(licence: {card.licence.name}), or put the file there yourself."
        )
    return fetch(card, host.fetch_folder(), progress=host.NodeProgress())


class LoadFaceDetector(NetworkNode):
    """Loads the network that finds faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declare the node."""
        return io.Schema(
            node_id="GPEN_LoadFaceDetector",
            display_name="Load Face Detector (GPEN)",
            category=sockets.CATEGORY,
            description=(
                "Loads a RetinaFace. The embedded one needs no download; others come from models/facedetection."
            ),
            inputs=[sockets.detector_menu("model"), _after_run_menu()],
            outputs=[sockets.DetectorSocket.Output("detector", tooltip="For Detect & Align Faces.")],
            **sockets.search_aliases("RetinaFace", "face detection model"),
        )

    @classmethod
    def fingerprint_inputs(cls, model: str | None, **_: object) -> object:
        """Load again when the file was exchanged under its name."""
        return sockets.fingerprint(detector=model)

    @classmethod
    def execute(cls, model: str, after_run: str) -> io.NodeOutput:
        """Load the detector."""
        return io.NodeOutput(sockets.hosted_detector(model, _STAYS[after_run]))
