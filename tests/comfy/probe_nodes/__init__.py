"""A second pack for the tests: pictures of every kind to feed the nodes with, and probes that tell what came out."""

import gc
import hashlib
import json
import os
import weakref
from pathlib import Path

import comfy.model_management
import numpy as np
import torch
from PIL import Image

_SAMPLE = Path(os.environ["GPEN_TEST_PACK"]) / "gpen_core" / "samples" / "astronaut_poor.jpg"


def _portrait() -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(_SAMPLE).convert("RGB"), dtype=np.float32) / 255)[None]


def _blank() -> torch.Tensor:
    return torch.linspace(0.2, 0.8, 512)[None, :, None, None].expand(1, 512, 512, 3).contiguous()


def _alpha() -> torch.Tensor:
    return torch.linspace(0, 1, 512)[None, None, :, None].expand(1, 512, 512, 1)


def _twice() -> torch.Tensor:
    half = torch.nn.functional.interpolate(_portrait().movedim(3, 1), scale_factor=0.5, mode="area").movedim(1, 3)
    return torch.cat((torch.cat((half, half), dim=2), torch.zeros(1, 256, 512, 3)), dim=1)


def _broken() -> torch.Tensor:
    picture = _portrait().clone()
    picture[0, 3, 4, 1] = float("nan")
    return picture


KINDS = {
    "portrait": _portrait,
    "no face": _blank,
    "fp16": lambda: _portrait().half(),
    "bf16": lambda: _portrait().bfloat16(),
    "grey": lambda: _portrait().mean(dim=3, keepdim=True),
    "rgba": lambda: torch.cat((_portrait(), _alpha()), dim=3),
    "overshoot": lambda: _portrait() * 1.2 - 0.1,
    "nan": _broken,
    "batch of 0, 1 and 2 faces": lambda: torch.cat((_blank(), _portrait(), _twice())),
    "two faces": _twice,
    "tall": lambda: _portrait()[:, :, 60:380],
    "portrait beside a wall": lambda: torch.cat((_portrait()[:, :, :1].expand(-1, -1, 900, -1), _portrait()), dim=2),
    "batch of 60 without a face": lambda: _blank().repeat(60, 1, 1, 1),
    "batch of 60": lambda: _portrait().repeat(60, 1, 1, 1),
}


class MakePicture:
    """Give an IMAGE of one kind."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (list(KINDS),)}})
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self, kind: str):
        return (KINDS[kind](),)


class Text:
    """Give a text to any input, a menu's too."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"text": ("STRING", {})}})
    RETURN_TYPES = ("*",)
    FUNCTION = "give"
    CATEGORY = "test"

    def give(self, text: str):
        return (text,)


class Probe:
    """Tell what a value is, as JSON in the node's text."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("*",)}})
    RETURN_TYPES = ()
    FUNCTION = "tell"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):  # noqa: N802 (ComfyUI's name)
        return True

    def tell(self, value):
        if isinstance(value, torch.Tensor):
            told = {
                "shape": list(value.shape),
                "dtype": str(value.dtype),
                "device": str(value.device),
                "min": float(value.min()),
                "max": float(value.max()),
                "mean": float(value.float().mean()),
                "per_picture": [hashlib.sha256(one.float().numpy().tobytes()).hexdigest() for one in value],
            }
        else:
            told = {"value": value}
        return {"ui": {"text": [json.dumps(told)]}}


class Difference:
    """Tell how far two IMAGEs differ inside and outside a mask."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"before": ("IMAGE",), "after": ("IMAGE",), "mask": ("MASK",)}})
    RETURN_TYPES = ()
    FUNCTION = "tell"
    CATEGORY = "test"
    OUTPUT_NODE = True

    def tell(self, before, after, mask):
        difference = (after[..., :3] - before[..., :3].float()).abs().amax(dim=3)
        inside, outside = difference[mask > 0.5], difference[mask == 0]
        told = {
            "largest": float(difference.max()),
            "outside": float(outside.max()) if outside.numel() else None,
            "inside": float(inside.mean()) if inside.numel() else None,
            "mask_share": float((mask > 0.5).float().mean()),
        }
        return {"ui": {"text": [json.dumps(told)]}}


_OURS = ("GpenGenerator", "RetinaFace")
_SEEN: "weakref.WeakSet[torch.nn.Module]" = weakref.WeakSet()


class Models:
    """Tell which networks ComfyUI counts as loaded, and which of ours are alive and new; runs every time."""

    INPUT_TYPES = classmethod(lambda cls: {"optional": {"after": ("*",)}})
    RETURN_TYPES = ()
    FUNCTION = "tell"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):  # noqa: N802 (ComfyUI's name)
        return True

    @classmethod
    def IS_CHANGED(cls, **_):  # noqa: N802 (ComfyUI's name)
        return float("nan")

    def tell(self, after=None):
        gc.collect()
        loaded = [type(patcher.model).__name__ for patcher in comfy.model_management.loaded_models()]
        # By type: isinstance would wake the lazy modules of other packages.
        modules = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.nn.Module)]
        ours = [module for module in modules if type(module).__name__ in _OURS]
        alive = [type(module).__name__ for module in ours]
        told = {
            "loaded": sorted(loaded),
            "alive": {name: alive.count(name) for name in _OURS},
            "new": sorted(type(module).__name__ for module in ours if module not in _SEEN),
        }
        _SEEN.update(ours)
        return {"ui": {"text": [json.dumps(told)]}}


class Doubler:
    """What Load Upscale Model gives, as far as it is used: repeats pixels, and fails on tiles larger than `room`."""

    scale = 2

    def __init__(self, room: int) -> None:
        self.model = torch.nn.Identity()
        self.room = room

    def to(self, device):
        return self

    def __call__(self, pixels):
        if max(pixels.shape[2:]) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)


class UpscaleModel:
    """Give an UPSCALE_MODEL."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"room": ("INT", {"default": 4096})}})
    RETURN_TYPES = ("UPSCALE_MODEL",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self, room: int):
        return (Doubler(room),)


NODE_CLASS_MAPPINGS = {
    "TestMakePicture": MakePicture,
    "TestText": Text,
    "TestProbe": Probe,
    "TestDifference": Difference,
    "TestModels": Models,
    "TestUpscaleModel": UpscaleModel,
}
