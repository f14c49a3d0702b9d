"""Time pasting alone: python -m tests.benchmarks.paste_speed PHOTO [PHOTO ...] [--rounds 5], from any checkout's root.

Give photos with large faces: the work grows with their boxes. Prints the faces' widths and the median of the rounds; to
compare two checkouts, run it in both by turns.
"""

import argparse
import time
from pathlib import Path
from statistics import median

from gpen_core.align import align_face
from gpen_core.detect import detect_faces
from gpen_core.masks import face_mask
from gpen_core.models.facemesh import load_face_mesh
from gpen_core.models.manager import shared_manager
from gpen_core.paste import paste_faces
from gpen_core.photo import read_photo
from gpen_core.restore import restore_faces


def time_pasting(path: Path, rounds: int) -> str:
    """Restore the faces of a photo once and paste them several times; tell how long it took."""
    models, mesh = shared_manager(), load_face_mesh()
    photo, restorer = read_photo(path).pixels, models.restorer()
    faces = detect_faces(photo[None], models.detector())[0]
    crops = restore_faces([align_face(photo, face, restorer.size, restorer.template) for face in faces], restorer)
    masks = [face_mask(crop, photo, mesh=mesh).pixels for crop in crops]
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        paste_faces(photo, crops, masks)
        seconds.append(time.perf_counter() - start)
    widths = ", ".join(f"{face.box.width:.0f}" for face in faces)
    return f"{path.name}: faces of {widths} px, {median(seconds[1:]):.3f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for photo in arguments.photos:
        print(time_pasting(photo, arguments.rounds))


if __name__ == "__main__":
    main()
