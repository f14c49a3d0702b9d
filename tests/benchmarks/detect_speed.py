"""Time the face detector on pictures of 12 megapixels: python tests/benchmarks/detect_speed.py [--threads 2]."""

import argparse
import time
from pathlib import Path

import cv2
import torch
from torch.nn import functional

from gpen_core.detect import DetectSettings, detect_faces
from gpen_core.models.retinaface import load_detector

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


def group(count: int, face_px: int) -> torch.Tensor:
    """Give a picture (1, 3, 3000, 4000) of `count` astronauts in a grid whose faces are `face_px` wide."""
    pixels = cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB)
    tile = torch.from_numpy(pixels[20:240, 110:330].copy()).permute(2, 0, 1)[None].float() / 255
    side = round(220 * face_px / 95)
    tile = functional.interpolate(tile, size=(side, side), mode="bilinear", antialias=True)[..., :3000, :4000]
    side_y, side_x = tile.shape[2:]
    picture = torch.full((1, 3, 3000, 4000), 0.45)
    columns = -(-count // max(1, 2800 // side_y))
    for index in range(count):
        row, column = divmod(index, columns)
        y, x = 40 + row * side_y, 40 + column * max(side_x, 3900 // columns)
        if y + side_y <= 3000 and x + side_x <= 4000:
            picture[..., y : y + side_y, x : x + side_x] = tile
    return picture


def main() -> None:
    """Print one line per picture: faces found and the fastest of five runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    detector = load_detector()
    for count, face_px in ((1, 1000), (1, 200), (6, 300), (30, 150), (30, 80), (30, 50), (60, 40), (0, 100)):
        picture = group(count, face_px)
        for settings in (DetectSettings(), DetectSettings(thorough=True)):
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                faces = detect_faces(picture, detector, settings)[0]
                seconds.append(time.perf_counter() - start)
            name = "thorough" if settings.thorough else "default"
            print(f"{count:3d} faces of {face_px:4d} px, {name:8s}: {len(faces):3d} found, {min(seconds):.3f} s")


if __name__ == "__main__":
    main()
