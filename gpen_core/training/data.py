"""Training pairs: which files are for training, and poor and clear pictures made of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import PhotoError, SettingsError
from .degrade import DegradeSettings, Picture, Rng, degrade

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_KNOTS = 5
_LARGEST_BEND = 0.018
"""A face is bent by moving a grid of so many knots; standard deviation of their moves at most, of the face's side."""


@dataclass(frozen=True)
class FaceFiles:
    """The files of a data set, split for good.

    Attributes:
        train: files to learn from.
        validation: the last tenth of each source's sorted file list; never learnt from.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...]


def find_faces(folder: Path) -> FaceFiles:
    """List the aligned faces of a folder and split them; a file's source is its name up to the last underscore.

    Raises:
        SettingsError: if the folder does not exist or holds fewer than ten pictures.
    """
    if not folder.is_dir():
        raise SettingsError(f'there is no folder "{folder}" with faces to train on')
    by_source: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES:
            by_source[source_of(path)].append(path)
    train: list[Path] = []
    validation: list[Path] = []
    for files in by_source.values():
        kept_back = len(files) // 10
        train += files[: len(files) - kept_back]
        validation += files[len(files) - kept_back :]
    if not train or not validation:
        raise SettingsError(f'"{folder}" holds {len(train)} pictures; training needs at least ten of one source')
    return FaceFiles(tuple(train), tuple(validation))


def source_of(path: Path) -> str:
    """Name the source a file belongs to: "house" for "house_0012.jpg"."""
    return path.stem.rpartition("_")[0]


def read_face(path: Path) -> Picture:
    """Read a picture file as (H, W, 3) float32 sRGB in [0, 1].

    Raises:
        PhotoError: if the file is no picture.
    """
    bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise PhotoError(f'"{path}" cannot be read as a picture')
    return np.asarray(bgr[:, :, ::-1], np.float32) / np.float32(255)


def fit_to_template(picture: Picture, aligned_size: int, size: int) -> Picture:
    """Scale a face aligned in the template of `aligned_size` to that of `size`, keeping its margin."""
    if size == aligned_size:
        return picture
    height, width = (round(side * size / aligned_size) for side in picture.shape[:2])
    interpolation = cv2.INTER_AREA if size < aligned_size else cv2.INTER_CUBIC
    return np.clip(np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.float32), 0, 1)


def centre_crop(picture: Picture, size: int) -> Picture:
    """Cut the middle `size`×`size` pixels.

    Raises:
        SettingsError: if the picture is smaller.
    """
    height, width = picture.shape[:2]
    if min(height, width) < size:
        raise SettingsError(f"expected faces of at least {size}×{size} pixels, got {width}×{height}")
    top, left = (height - size) // 2, (width - size) // 2
    return picture[top : top + size, left : left + size]


def to_tensor(picture: Picture) -> Tensor:
    """Turn (H, W, 3) in [0, 1] into (3, H, W) uint8."""
    levels = np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))


class FacePairs(Dataset[tuple[Tensor, Tensor]]):
    """Endless pairs (poor, clear), each (3, S, S) uint8 sRGB; pair number `index` is always the same.

    Colour changes (a cast, fading, a grey scan) are made to both pictures: a restorer shall keep the colours it is
    given, so that skin stays the skin of the person.
    """

    def __init__(
        self, files: Sequence[Path], size: int, aligned_size: int, seed: int, length: int, settings: DegradeSettings
    ) -> None:
        """Take files aligned in the template of `aligned_size` with an even margin around it; give faces of `size`."""
        self.files = tuple(files)
        self.aligned_size = aligned_size
        self.size = size
        self.seed = seed
        self.length = length
        self.settings = settings

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        round_number, position = divmod(index, len(self.files))
        order = np.random.default_rng((self.seed, round_number)).permutation(len(self.files))
        rng = np.random.default_rng((self.seed, round_number, position))
        face = fit_to_template(read_face(self.files[order[position]]), self.aligned_size, self.size)
        clear = vary_geometry(face, self.size, rng)
        clear = _vary_colour(clear, rng)
        poor = degrade(clear, int(rng.integers(2**31)), self.settings)
        return to_tensor(poor), to_tensor(clear)


def vary_geometry(picture: Picture, size: int, rng: Rng) -> Picture:
    """Cut a face with a little shift, turn, scale and bend; half keep the pixel grid, and so all their sharpness."""
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    height, width = picture.shape[:2]
    margin = max(0, (min(height, width) - size) // 2)
    shift = rng.integers(-margin, margin + 1, 2) // 2
    if rng.random() < 0.5:
        centre_crop(picture, size)
        top, left = (height - size) // 2 + shift[1], (width - size) // 2 + shift[0]
        return np.ascontiguousarray(picture[top : top + size, left : left + size])
    warped = cv2.remap(
        np.ascontiguousarray(picture),
        *_warp_maps(width, height, size, shift, rng),
        cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.clip(warped, 0, 1)


def _warp_maps(width: int, height: int, size: int, shift: NDArray[np.int64], rng: Rng) -> tuple[Picture, Picture]:
    """Tell where each pixel of a turned, scaled and softly bent face comes from: x and y, each (size, size).

    The bends make other faces of the few there are: a nose or a jaw some percent longer, wider or moved.
    """
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-7, 7), float(np.exp(rng.uniform(-0.05, 0.1))))
    matrix[:, 2] = matrix[:, 2] + (size - 1) / 2 - np.array(centre) + shift
    back = cv2.invertAffineTransform(matrix)
    knots = rng.normal(0, rng.uniform(0, _LARGEST_BEND * size), (_KNOTS, _KNOTS, 2)).astype(np.float32)
    bends = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    places = np.stack((*np.meshgrid(np.arange(size), np.arange(size)), np.ones((size, size))), axis=-1)
    x, y = np.moveaxis(places @ back.T + bends, -1, 0).astype(np.float32)
    return x, y


def _vary_colour(picture: Picture, rng: Rng) -> Picture:
    """Change exposure, cast and contrast slightly; now and then fade the picture like an old print, or make it grey."""
    gains: NDArray[np.float32] = np.exp(rng.normal(0, 0.04, 3)).astype(np.float32)
    if rng.random() < 0.5:
        picture = picture ** np.float32(np.exp(rng.uniform(-0.35, 0.35))) * gains
    if rng.random() < 0.08:
        black = rng.uniform(0.02, 0.15, 3).astype(np.float32)
        picture = black + picture * (np.float32(rng.uniform(0.75, 1.0)) - black)
    if rng.random() < 0.06:
        picture = np.repeat(picture @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    return np.clip(picture, 0, 1).astype(np.float32)
