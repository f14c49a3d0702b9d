"""The weights this pack knows by name: one card per file, with where it comes from and under which licence."""

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import WeightsNotFoundError
from ..types import TemplateName

Role: TypeAlias = Literal["restorer", "detector", "parser", "upscaler"]
"""What a file is used for."""

Task: TypeAlias = Literal["restore", "colorize", "inpaint", "draw", "detect", "parse", "upscale"]
"""What its network does; "draw" makes a face of a segmentation map."""

_OSS = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models/"
_MODELSCOPE = "https://www.modelscope.cn/models/iic/"
_GITHUB = "https://github.com/"


@dataclass(frozen=True)
class Licence:
    """Under which terms a file may be used.

    Attributes:
        name: the licence in short, as its publishers word it.
        non_commercial: whether it forbids work for pay.
    """

    name: str
    non_commercial: bool


_GPEN_TERMS = Licence("none published; non-commercial by its authors' former notice", non_commercial=True)
_MIT = Licence("MIT (code)", non_commercial=False)
_APACHE = Licence("Apache-2.0", non_commercial=False)

_GPEN_PAPER = "arXiv 2105.06070 (GPEN)"
_REAL_ESRGAN_PAPER = "arXiv 2107.10833 (Real-ESRGAN)"


@dataclass(frozen=True)
class WeightsCard:
    """One weights file.

    Attributes:
        file_name: what the fetched file is called.
        role: what it is used for.
        task: what its network does.
        architecture: its network family, as `content.read_content` names it.
        urls: mirrors, to be tried in order.
        licence: the terms of its publishers.
        paper: where the method is described.
        sha256: of the whole file, lower-case hex; None if its publishers never gave one.
        size_bytes: exact length; None if unknown.
        about_bytes: length to within a few per cent; None if unknown.
        picture_size: side of the network's square picture in pixels; None where any size is taken.
        template: the face template crops must be aligned to; None where crops are not used.
        scale: how many times an upscaler enlarges; None for other networks.
    """

    file_name: str
    role: Role
    task: Task
    architecture: str
    urls: tuple[str, ...]
    licence: Licence
    paper: str
    sha256: str | None = None
    size_bytes: int | None = None
    about_bytes: int | None = None
    picture_size: int | None = None
    template: TemplateName | None = None
    scale: int | None = None

    @property
    def name(self) -> str:
        """What users call it: the file name without its ending."""
        return self.file_name.rsplit(".", 1)[0]

    @property
    def is_usable(self) -> bool:
        """Whether this pack can run its network: of restorers, so far, GPEN's own task alone."""
        return self.role != "restorer" or (self.architecture == "GPEN" and self.task == "restore")

    @property
    def expected_bytes(self) -> int | None:
        """The best figure there is for its length."""
        return self.size_bytes or self.about_bytes


def _gpen(
    file_name: str,
    size: int,
    *urls: str,
    task: Task = "restore",
    sha256: str | None = None,
    size_bytes: int | None = None,
    about_bytes: int | None = None,
) -> WeightsCard:
    return WeightsCard(
        file_name=file_name,
        role="restorer",
        task=task,
        architecture="GPEN",
        urls=urls,
        licence=_GPEN_TERMS,
        paper=_GPEN_PAPER,
        sha256=sha256,
        size_bytes=size_bytes,
        about_bytes=about_bytes,
        picture_size=size,
        template="gpen",
    )


def _realesrnet(scale: int) -> WeightsCard:
    file_name = f"realesrnet_x{scale}.pth"
    return WeightsCard(
        file_name=file_name,
        role="upscaler",
        task="upscale",
        architecture="ESRGAN",
        urls=(_OSS + file_name,),
        licence=_GPEN_TERMS,
        paper=_REAL_ESRGAN_PAPER,
        about_bytes=38_400_000,
        scale=scale,
    )


_GPEN_CARDS = (
    _gpen(
        "GPEN-BFR-512.pth",
        512,
        _OSS + "GPEN-BFR-512.pth",
        "https://huggingface.co/akhaliq/GPEN-BFR-512/resolve/main/GPEN-BFR-512.pth",
        _GITHUB + "vinthony/video-retalking/releases/download/v0.0.1/GPEN-BFR-512.pth",
        sha256="f1002c41add95b0decad69604d80455576f7187dd99ca16bd611bcfd44c10b51",
        size_bytes=284_085_738,
    ),
    _gpen("GPEN-BFR-256.pth", 256, _OSS + "GPEN-BFR-256.pth", about_bytes=75_500_000),
    _gpen(
        "GPEN-BFR-1024.pt",
        1024,
        _MODELSCOPE + "cv_gpen_image-portrait-enhancement-hires/resolve/master/pytorch_model.pt",
        about_bytes=284_800_000,
    ),
    _gpen(
        "GPEN-BFR-2048.pt",
        2048,
        _MODELSCOPE + "cv_gpen_image-portrait-enhancement-hires/resolve/master/pytorch_model-2048.pt",
        about_bytes=285_200_000,
    ),
    _gpen(
        "GPEN-BFR-512-ModelScope.pt",
        512,
        _MODELSCOPE + "cv_gpen_image-portrait-enhancement/resolve/master/pytorch_model.pt",
        about_bytes=284_000_000,
    ),
    _gpen("GPEN-Colorization-1024.pth", 1024, _OSS + "GPEN-Colorization-1024.pth", task="colorize"),
    _gpen("GPEN-Inpainting-1024.pth", 1024, _OSS + "GPEN-Inpainting-1024.pth", task="inpaint"),
    _gpen("GPEN-Seg2face-512.pth", 512, _OSS + "GPEN-Seg2face-512.pth", task="draw"),
)

_FACE_CARDS = (
    WeightsCard(
        file_name="detection_Resnet50_Final.pth",
        role="detector",
        task="detect",
        architecture="RetinaFace",
        urls=(_GITHUB + "xinntao/facexlib/releases/download/v0.1.0/detection_Resnet50_Final.pth",),
        licence=_MIT,
        paper="arXiv 1905.00641 (RetinaFace)",
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
        size_bytes=109_497_761,
    ),
    WeightsCard(
        file_name="parsing_parsenet.pth",
        role="parser",
        task="parse",
        architecture="ParseNet",
        urls=(_GITHUB + "xinntao/facexlib/releases/download/v0.2.2/parsing_parsenet.pth",),
        licence=Licence("CC BY-NC-SA 4.0 (code)", non_commercial=True),
        paper="arXiv 2009.08709 (PSFR-GAN)",
        sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
        size_bytes=85_331_193,
        picture_size=512,
        template="ffhq",
    ),
    WeightsCard(
        file_name="parsing_bisenet.pth",
        role="parser",
        task="parse",
        architecture="BiSeNet",
        urls=(_GITHUB + "xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth",),
        licence=_MIT,
        paper="arXiv 1808.00897 (BiSeNet)",
        sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        picture_size=512,
        template="ffhq",
    ),
)

_OTHER_CARDS = (
    WeightsCard(
        file_name="GFPGANv1.4.pth",
        role="restorer",
        task="restore",
        architecture="GFPGAN",
        urls=(_GITHUB + "TencentARC/GFPGAN/releases/download/v1.3.4/GFPGANv1.4.pth",),
        licence=_APACHE,
        paper="arXiv 2101.04061 (GFPGAN)",
        sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        size_bytes=348_632_874,
        picture_size=512,
        template="ffhq",
    ),
    WeightsCard(
        file_name="codeformer.pth",
        role="restorer",
        task="restore",
        architecture="CodeFormer",
        urls=(_GITHUB + "sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",),
        licence=Licence("S-Lab 1.0", non_commercial=True),
        paper="arXiv 2206.11253 (CodeFormer)",
        sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
        about_bytes=376_600_000,
        picture_size=512,
        template="ffhq",
    ),
    WeightsCard(
        file_name="RestoreFormer++.ckpt",
        role="restorer",
        task="restore",
        architecture="RestoreFormer",
        urls=(_GITHUB + "wzhouxiff/RestoreFormerPlusPlus/releases/download/v1.0.0/RestoreFormer++.ckpt",),
        licence=_APACHE,
        paper="arXiv 2308.07228 (RestoreFormer++)",
        sha256="613fe52805f86bf8c2bffff08ae9f7a0b99f408be1bf221767af6183038be3a2",
        about_bytes=294_000_000,
        picture_size=512,
        template="ffhq",
    ),
    WeightsCard(
        file_name="RealESRGAN_x2plus.pth",
        role="upscaler",
        task="upscale",
        architecture="ESRGAN",
        urls=(_GITHUB + "xinntao/Real-ESRGAN/releases/download/v0.2.1/RealESRGAN_x2plus.pth",),
        licence=Licence("BSD-3-Clause", non_commercial=False),
        paper=_REAL_ESRGAN_PAPER,
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        size_bytes=67_061_725,
        scale=2,
    ),
    *(_realesrnet(scale) for scale in (1, 2, 4)),
)

CATALOG: tuple[WeightsCard, ...] = (*_GPEN_CARDS, *_FACE_CARDS, *_OTHER_CARDS)
"""Every card, the most wanted first within its role."""


def find_card(name: str) -> WeightsCard:
    """Find a card by its name or its file name, in any letter case.

    Raises:
        WeightsNotFoundError: if there is none; the text offers the nearest names.
    """
    wanted = name.strip().lower()
    for card in CATALOG:
        if wanted in {card.name.lower(), card.file_name.lower()}:
            return card
    names = [card.name for card in CATALOG]
    near = difflib.get_close_matches(wanted, [known.lower() for known in names], n=3)
    meant = [known for known in names if known.lower() in near] or names
    raise WeightsNotFoundError(
        f'"{name}" is not in the catalogue; {"did you mean" if near else "known are"} {", ".join(meant)}? '
        '"python -m gpen_core models list" shows every name.'
    )


def card_by_hash(sha256: str) -> WeightsCard | None:
    """Find the card of a file by its SHA-256; None if the catalogue gives that hash for no file."""
    return next((card for card in CATALOG if card.sha256 == sha256.lower()), None)
