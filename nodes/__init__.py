"""The extension: the list of nodes is the table of contents of the pack."""

from comfy_api.latest import ComfyExtension, io

from . import host
from .batch import RestoreFolder
from .check import CheckPhoto
from .compare import BeforeAfter
from .detect import DetectAlignFaces
from .load import LoadFaceDetector, LoadRestorer
from .memory import FreeMemory
from .paste import PasteFaces
from .portrait import RestorePortrait
from .printing import PrintUpscale, SavePrint
from .restore import RestoreFaces
from .sample import SamplePortrait
from .select import SelectFaces
from .tone import SkinTone
from .upscale import UpscaleBackground


class GpenPortrait(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Give the nodes in the order in which a portrait passes through them."""
        return [
            RestorePortrait,
            LoadRestorer,
            LoadFaceDetector,
            DetectAlignFaces,
            SelectFaces,
            RestoreFaces,
            PasteFaces,
            UpscaleBackground,
            SkinTone,
            PrintUpscale,
            SavePrint,
            BeforeAfter,
            CheckPhoto,
            RestoreFolder,
            FreeMemory,
            SamplePortrait,
        ]


async def comfy_entrypoint() -> GpenPortrait:
    """Make the model folders known to ComfyUI, and give it the extension.

    The folders come first: the menus of the nodes list them, and older versions of ComfyUI never call `on_load`.
    """
    host.register_model_folders()
    return GpenPortrait()
