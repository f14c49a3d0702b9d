"""ICC profiles computed in code, so that the tests carry none of anybody's profile files."""

import struct
from functools import cache

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(primaries: tuple[tuple[float, float], ...], gamma: float, white=(0.3127, 0.3290)) -> bytes:
    """Make a matrix profile from the chromaticities of red, green, blue and white and one gamma."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white_xyz = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    to_xyz = xyz * np.linalg.solve(xyz, white_xyz)
    cones = np.diag((_BRADFORD @ D50) / (_BRADFORD @ white_xyz))
    to_d50 = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ to_xyz
    tags = {name: _xyz(to_d50[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | {b"wtpt": _xyz(D50)})


def gamma_grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma), b"wtpt": _xyz(D50)})


@cache
def cmyk_profile(grid: int = 9) -> bytes:
    """Make a printer profile of made-up inks: colour is the product of what each ink lets through."""
    inks = np.array([[0.0, 0.55, 0.9], [0.9, 0.05, 0.85], [1.0, 0.9, 0.05], [0.12, 0.12, 0.12]])
    steps = np.linspace(0, 1, grid)
    amounts = np.stack(np.meshgrid(steps, steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 4)
    rgb = np.prod(1 - amounts[:, :, None] * (1 - inks), axis=1)
    to_lab = _lut16(4, 3, grid, _srgb_to_lab(rgb))

    lab_steps = np.linspace(0, 1, 17)
    lab_codes = np.stack(np.meshgrid(lab_steps, lab_steps, lab_steps, indexing="ij"), axis=-1).reshape(-1, 3)
    best = _nearest_inks(lab_codes, inks)
    return _profile(
        b"prtr",
        b"CMYK",
        b"Lab ",
        {b"A2B0": to_lab, b"A2B1": to_lab, b"B2A0": _lut16(3, 4, 17, best), b"B2A1": _lut16(3, 4, 17, best)}
        | {b"wtpt": _xyz(D50)},
    )


@cache
def scanner_profile(grid: int = 33) -> bytes:
    """Make a scanner's profile of tables: the square of each stored value is light of sRGB's primaries."""
    steps = np.linspace(0, 1, grid)
    linear = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) ** 2
    code = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    tags = {b"A2B0": _lut16(3, 3, grid, _srgb_to_lab(code), lab_in=False), b"wtpt": _xyz(D50)}
    return _profile(b"scnr", b"RGB ", b"Lab ", tags)


def damaged_rgb_profile(gamma: float = 2.0, factor: float = 0.0) -> bytes:
    """Make a matrix profile whose curves, (factor · x) to the power of gamma, make no sense."""
    curve = b"para\0\0\0\0" + struct.pack(">2H3i", 1, 0, round(gamma * 65536), round(factor * 65536), 0)
    columns = {b"rXYZ": (0.6, 0.3, 0.02), b"gXYZ": (0.2, 0.6, 0.06), b"bXYZ": (0.15, 0.06, 0.74)}
    tags = {name: _xyz(column) for name, column in columns.items()} | {b"wtpt": _xyz(D50)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def _nearest_inks(lab_codes: np.ndarray, inks: np.ndarray) -> np.ndarray:
    """Find the C, M, Y (no K) whose colour is nearest to each Lab, by trying a grid of them."""
    steps = np.linspace(0, 1, 21)
    tried = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    rgb = np.prod(1 - tried[:, :, None] * (1 - inks[:3]), axis=1)
    scale = np.array([100, 255, 255])
    known, wanted = _srgb_to_lab(rgb) * scale, lab_codes * scale
    nearest = [np.argmin(((known - colour) ** 2).sum(axis=1)) for colour in wanted]
    return np.column_stack([tried[nearest], np.zeros(len(nearest))])


def _srgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """Give L*/100, (a* + 128)/255, (b* + 128)/255 (D50)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    t = np.clip(linear @ matrix.T / D50, 0, None)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    lightness, a, b = 116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    return np.column_stack([lightness / 100, (a + 128) / 255, (b + 128) / 255])


def _lut16(inputs: int, outputs: int, grid: int, table: np.ndarray, lab_in: bool = True) -> bytes:
    """Pack a lut16Type (ICC.1:2022 section 10.10); Lab of version 2, where white is 0xFF00."""
    table = np.asarray(table)
    if outputs == 3:
        table = table * 0xFF00 / 0xFFFF
    identity = struct.pack(">2H", 0, 0xFFFF)
    curves_in = identity * inputs
    if inputs == 3 and lab_in:  # stretch the 0xFF00 of version 2 Lab to the whole grid
        curve = np.minimum(np.linspace(0, 0xFFFF, 257) * 0xFFFF / 0xFF00, 0xFFFF).round().astype(">u2").tobytes()
        curves_in = curve * 3
    entries_in = 257 if inputs == 3 and lab_in else 2
    head = b"mft2\0\0\0\0" + struct.pack(">4B", inputs, outputs, grid, 0)
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    values = (np.clip(table, 0, 1) * 0xFFFF).round().astype(">u2").tobytes()
    return head + matrix + struct.pack(">2H", entries_in, 2) + curves_in + values + identity * outputs


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    words = b"made in a test\0"
    tags = tags | {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(words)) + words + b"\0" * 78,
        b"cprt": b"text\0\0\0\0public domain\0",
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header.ljust(128, b"\0") + table + body
