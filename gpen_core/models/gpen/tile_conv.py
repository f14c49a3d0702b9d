"""Convolution by tiles, in strips that stay in the processor's cache.

A strip of tiles goes all the way (read, transform, scale by style, multiply, transform back, demodulate, add bias,
activate) before the next one starts, so that only finished features pass through main memory. Every step is one torch
call on matrices; `tiles.py` says what the transforms are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .feature_map import BORDER, SLOPE, FeatureMap, Injection
from .tiles import TilePlan
from .workspace import Crew, Workspace

_STRIP_TILES = 128
"""Tiles in a strip: enough rows for a matrix product to run at full speed, few enough to stay in a 2 MB cache."""

_WHOLE_TILES = 256
"""Faces with no more tiles are not cut, and go through together: reading the weight takes the time there."""


@dataclass(frozen=True)
class Strip:
    """Some rows of tiles of some faces."""

    faces: slice
    first: int
    count: int


Finished = Callable[[Workspace, slice, int, Tensor], None]
"""Told workspace, faces, first row and (n, rows, W, C) as soon as these rows are done, on the thread that made them."""


class TileConv:
    """A 3×3 convolution of feature maps that keeps, halves or doubles their sides, with bias and leaky ReLU.

    Args:
        weight: (out, in, 3, 3), used as it is.
        bias: (out,), added before the leaky ReLU of slope 0.2, which has no gain.
        plan: of both axes.
    """

    def __init__(self, weight: Tensor, bias: Tensor, plan: TilePlan) -> None:
        self._plan = plan
        self._bias = bias
        self._take = torch.tensor(plan.take, dtype=torch.float32)
        self._give = torch.tensor(plan.give, dtype=torch.float32)
        self._filters = _transform(weight, torch.tensor(plan.filter, dtype=torch.float32))

    @property
    def nbytes(self) -> int:
        """Memory of the transformed weight."""
        return self._filters.nbytes

    def __call__(
        self,
        crew: Crew,
        sources: Sequence[FeatureMap | Injection],
        out: FeatureMap | None,
        style: Tensor | None = None,
        norm: Tensor | None = None,
        finished: Finished | None = None,
    ) -> None:
        """Convolve.

        Args:
            crew: whose threads and memory to use.
            sources: read as one, with all their channels.
            out: where the result goes; None if only `finished` wants it (not when sides are doubled).
            style: (N, in) factors of the sources, or None.
            norm: (N, out) factors before the bias, or None.
            finished: told of all rows, except when sides are doubled.
        """
        plan, first = self._plan, sources[0]
        batch, height, width, _ = (first if isinstance(first, FeatureMap) else first.features).inside.shape
        job = _Job(
            batch,
            height // plan.read_step,
            width // plan.read_step,
            plan,
            self._take,
            self._give,
            self._filters,
            self._bias,
            sources,
            out,
            style,
            norm,
            finished,
        )
        if job.rows * job.columns <= _WHOLE_TILES:
            for faces in _together(job.batch, _WHOLE_TILES // (job.rows * job.columns)):
                job.run(crew.space, Strip(faces, 0, job.rows))
        else:
            crew.share(job.run_share)
        if out is not None and plan.write_first < 0:
            out.clear_border()


def _together(batch: int, count: int) -> Iterator[slice]:
    for face in range(0, batch, count):
        yield slice(face, min(face + count, batch))


def _transform(weight: Tensor, matrix: Tensor) -> Tensor:
    """Give the weight at every pair of points: (points², in, out)."""
    points = len(matrix)
    made = torch.empty(points, points, weight.shape[1], weight.shape[0])
    for part, target in zip(weight.split(32), made.split(32, dim=-1), strict=True):
        target.copy_(torch.einsum("ka,lb,ocab->klco", matrix, matrix, part))
    return made.view(points**2, *made.shape[2:])


@dataclass(frozen=True)
class _Job:
    """One call of a convolution on `rows` × `columns` tiles: all that a thread needs to make its strips."""

    batch: int
    rows: int
    columns: int
    plan: TilePlan
    take: Tensor
    give: Tensor
    filters: Tensor
    bias: Tensor
    sources: Sequence[FeatureMap | Injection]
    out: FeatureMap | None
    style: Tensor | None
    norm: Tensor | None
    finished: Finished | None

    def run_share(self, space: Workspace, index: int, count: int) -> None:
        """Make one of `count` shares of the rows of every face."""
        first, end = (self.rows * share // count for share in (index, index + 1))
        height = max(1, _STRIP_TILES // self.columns)
        for face in range(self.batch if end > first else 0):
            faces = slice(face, face + 1)
            carry = None
            if first > 0 and len(self.give) > self.plan.write_step:
                carry = self._make_rows(space, Strip(faces, first - 1, 1))[1]
            for row in range(first, end, height):
                carry = self.run(space, Strip(faces, row, min(height, end - row)), carry)

    def run(self, space: Workspace, strip: Strip, carry: Tensor | None = None) -> Tensor | None:
        """Make a strip.

        Args:
            space: of this thread.
            strip: what to make.
            carry: what the tiles above the strip make in its first rows.

        Returns:
            What its tiles make in the rows below it.
        """
        step = self.plan.write_step
        made, tail = self._make_rows(space, strip, carry)
        target = self._target(space, strip)
        row = 0 if self.out is None else strip.first * step
        norm = None if self.norm is None else self.norm[strip.faces, None, None]
        self._write(space, made, target, row + self.plan.write_first, norm)
        if tail is not None and strip.first + strip.count == self.rows:
            self._write(space, tail[:BORDER].unsqueeze(3), target, self.rows * step - BORDER, norm)
        if self.finished is not None:
            rows = target[:, BORDER + row : BORDER + row + strip.count * step, BORDER:-BORDER]
            self.finished(space, strip.faces, strip.first * step, rows)
        return tail

    def _target(self, space: Workspace, strip: Strip) -> Tensor:
        """Give the map a strip is written to, border and all: of its faces, or of itself only."""
        if self.out is not None:
            return self.out.data[strip.faces]
        step, faces = self.plan.write_step, strip.faces.stop - strip.faces.start
        height, width = strip.count * step + 2 * BORDER, self.columns * step + 2 * BORDER
        return space.take("strip", faces, height, width, self.filters.shape[-1])

    def _make_rows(self, space: Workspace, strip: Strip, carry: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Give the products, transformed back along the rows, and what reaches below the strip."""
        products = self._multiply(space, strip)
        made = space.take("rows", len(self.give), *products.shape[1:])
        torch.mm(self.give, products.view(len(products), -1), out=made.view(len(made), -1))
        body, tail = _overlap_add(made, 3, self.plan.write_step)
        if carry is not None:
            body[: len(carry), :, :, 0].add_(carry)
        return body, None if tail is None else space.take("carry", *tail.shape).copy_(tail)

    def _multiply(self, space: Workspace, strip: Strip) -> Tensor:
        """Give the products of all points: (points, points, faces, rows, columns, out).

        One row of points at a time: its values, of all tiles, stay in the cache from one operation to the next.
        """
        points, channels, width = len(self.take), self.filters.shape[1], self.filters.shape[2]
        tiles = (strip.faces.stop - strip.faces.start, strip.count, self.columns)
        windows = [self._windows(space, source, strip) for source in self.sources]
        parts = [window.shape[-1] for window in windows]
        styles = None if self.style is None else self.style[strip.faces, None, None].split(parts, dim=-1)
        pixels = space.take("pixels", *windows[0].shape[1:-1], channels)
        places = pixels.split(parts, dim=-1)
        made = space.take("products", points, points, *tiles, width)
        filters = self.filters.view(points, points, channels, width)
        for row in range(points):
            for number, (window, place) in enumerate(zip(windows, places, strict=True)):
                if styles is None:
                    place.copy_(window[row % len(window)])
                else:
                    torch.mul(window[row % len(window)], styles[number], out=place)
            torch.bmm(self._values(space, pixels), filters[row], out=made[row].view(points, -1, width))
        return made

    def _values(self, space: Workspace, pixels: Tensor) -> Tensor:
        """Transform (pixels of a tile, faces, rows, columns, channels) along the columns: (points, tiles, channels)."""
        points, channels = len(self.take), pixels.shape[-1]
        if self._is_direct:
            return pixels.view(len(pixels), -1, channels).expand(points, -1, -1)
        flat = pixels.view(len(pixels), -1)
        made = space.take("values", points, flat.shape[1] // channels, channels)
        torch.mm(self.take, flat, out=made.view(points, -1))
        return made

    def _windows(self, space: Workspace, source: FeatureMap | Injection, strip: Strip) -> Tensor:
        """Transform a source along the rows, and view it as overlapping tiles.

        Returns:
            (points, pixels of a tile, faces, rows, columns, channels); for direct tiles pixels stand for points.
        """
        plan, step = self.plan, self.plan.read_step
        points, side = self.take.shape
        height = (strip.count - 1) * step + side
        rows = source.rows(space, strip.faces, strip.first * step + plan.read_first, height)
        faces, _, width, channels = rows.shape
        shape = (points, side, faces, strip.count, self.columns, channels)
        by_face, by_row, by_pixel, _ = rows.stride()
        start = (BORDER + plan.read_first) * by_pixel
        if self._is_direct:
            strides = (by_row, by_pixel, by_face, step * by_row, step * by_pixel, 1)
            return rows.as_strided((side, *shape[1:]), strides, rows.storage_offset() + start)
        line = width * channels
        name = "rows" if isinstance(source, FeatureMap) else "injected rows"
        half = space.take(name, faces, strip.count, points, line)
        for face in range(faces):
            tiles = rows[face].as_strided((strip.count, side, line), (step * by_row, by_row, 1))
            torch.bmm(self.take.expand(strip.count, -1, -1), tiles, out=half[face])
        strides = (line, channels, strip.count * points * line, points * line, step * channels, 1)
        return half.as_strided(shape, strides, start)

    @property
    def _is_direct(self) -> bool:
        """Whether tiles of one pixel leave nothing to transform on the way in."""
        return self.plan.read_step == 1

    def _write(self, space: Workspace, made: Tensor, target: Tensor, row: int, norm: Tensor | None) -> None:
        """Transform (rows of a tile, points, faces, tile rows, columns, out) back along the columns, and finish."""
        plan = self.plan
        count, points = made.shape[:2]
        pixels = space.take("products", count, len(self.give), *made.shape[2:])
        flat = pixels.view(count, len(self.give), -1)
        torch.bmm(self.give.expand(count, -1, -1), made.view(count, points, -1), out=flat)
        body, tail = _overlap_add(pixels.transpose(0, 1), 4, plan.write_step)
        self._finish(body, target, row, plan.write_first, norm)
        if tail is not None:
            end = self.columns * plan.write_step + plan.write_first
            self._finish(tail[:BORDER].unsqueeze(4), target, row, end, norm)

    def _finish(self, made: Tensor, target: Tensor, row: int, column: int, norm: Tensor | None) -> None:
        """Scale, add bias and activate (columns, rows of a tile, faces, tile rows, tile columns, out) into place."""
        step = self.plan.write_step
        by_face, by_row, by_pixel, _ = target.stride()
        place = target.as_strided(
            made.shape,
            (by_pixel, by_row, by_face, step * by_row, step * by_pixel, 1),
            target.storage_offset() + (row + BORDER) * by_row + (column + BORDER) * by_pixel,
        )
        if norm is None:
            torch.add(made, self.bias, out=place)
        else:
            torch.addcmul(self.bias, made, norm, out=place)
        F.leaky_relu_(place, SLOPE)


def _overlap_add(made: Tensor, axis: int, step: int) -> tuple[Tensor, Tensor | None]:
    """Add in place what each tile makes beyond its `step` to the tiles after it.

    Args:
        made: (pixels, ...).
        axis: along which the tiles lie.
        step: how many of the pixels belong to the tile itself.

    Returns:
        (step, ...), and what is left over after the last tile, without `axis`; None where tiles do not overlap.
    """
    body, tail = made[:step], None
    tiles = made.shape[axis]
    for shift, start in enumerate(range(step, len(made), step), start=1):
        beyond = made[start : start + step]
        if shift < tiles:
            body[: len(beyond)].narrow(axis, shift, tiles - shift).add_(beyond.narrow(axis, 0, tiles - shift))
        if shift <= tiles:
            last = beyond.select(axis, tiles - shift)
            tail = last if tail is None else tail.add_(last)
    return body, tail
