"""Time of a whole portrait, step by step: against megapixels, and against faces."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from .machine import peak_memory

if TYPE_CHECKING:
    from ..models.descriptor import Restorer
    from ..models.facemesh import FaceMesh
    from ..models.retinaface import FaceDetector

SAMPLE = Path(__file__).parent.parent / "samples" / "astronaut_poor.jpg"


@dataclass(frozen=True)
class PhotoOrder:
    """What to measure.

    Attributes:
        megapixels: of the photo.
        faces: in it.
        threads: of torch.
        face_px: width of a face's box, about.
        rounds: how often.
        weights: of the restorer; None for the embedded one.
    """

    megapixels: float
    faces: int
    threads: int
    face_px: int = 400
    rounds: int = 3
    weights: Path | None = None


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)


def measure_photo(order: PhotoOrder) -> dict[str, object]:
    """Restore a photo from file to file.

    Returns:
        `seconds` of every round by step, `found` faces, and the `peak` memory of this process in bytes.
    """
    import torch

    from ..models.facemesh import load_face_mesh
    from ..models.load import load_restorer
    from ..models.retinaface import load_detector

    torch.set_num_threads(order.threads)
    detector, restorer, mesh = load_detector(), load_restorer(order.weights), load_face_mesh()
    clock, found = _Clock(), 0
    with TemporaryDirectory() as folder:
        source = Path(folder) / "photo.jpg"
        make_photo(source, order)
        for _ in range(order.rounds + 1):
            found = _restore(clock, source, (detector, restorer, mesh))
    seconds = {step: values[1:] for step, values in clock.seconds.items()}
    return {"seconds": seconds, "found": found, "peak": peak_memory()}


def make_photo(path: Path, order: PhotoOrder) -> None:
    """Write a 4:3 photo of the sample's face, as often as wanted, on a ground with grain."""
    from PIL import Image

    width = round((order.megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(width * 3 / 4)
    grain = np.random.RandomState(0).randint(110, 140, (height, width), dtype=np.uint8)
    photo = Image.merge("RGB", [Image.fromarray(grain)] * 3)
    del grain
    with Image.open(SAMPLE) as sample:
        columns = int(np.ceil(np.sqrt(order.faces * 4 / 3)))
        side = min(order.face_px * 3, width // columns, height // (-(-order.faces // columns)))
        face = sample.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    for number in range(order.faces):
        photo.paste(face, (number % columns * (width // columns), number // columns * side))
    photo.save(path, quality=92)


def _restore(clock: _Clock, source: Path, models: "tuple[FaceDetector, Restorer, FaceMesh]") -> int:
    from ..align import align_face
    from ..detect import detect_faces
    from ..masks import face_mask
    from ..paste import paste_faces
    from ..photo import read_photo, write_photo
    from ..restore import restore_faces

    detector, restorer, mesh = models
    with clock.step("read"):
        photo = read_photo(source)
    with clock.step("detect"):
        faces = detect_faces(photo.pixels[None], detector)[0]
    with clock.step("align"):
        crops = [align_face(photo.pixels, face, restorer.size, restorer.template) for face in faces]
    with clock.step("network"):
        restored = restore_faces(crops, restorer)
    with clock.step("mask"):
        masks = [face_mask(crop, photo.pixels, mesh=mesh).pixels for crop in restored]
    with clock.step("paste"):
        pixels, _ = paste_faces(photo.pixels, restored, masks, in_place=True)
    with clock.step("write"):
        write_photo(source.with_name("restored.jpg"), pixels, overwrite=True)
    return len(faces)
