"""A pack for the soak: tells how much the server holds."""

import gc
import json

import torch


class SoakStatus:
    """Tell how many modules and tensors are alive in the server; runs every time."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES = ()
    FUNCTION = "tell"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def IS_CHANGED(cls, **_):  # noqa: N802 (ComfyUI's name)
        return float("nan")

    def tell(self):
        gc.collect()
        things = gc.get_objects()
        # By type: isinstance would wake the lazy modules of other packages.
        tensors = [thing for thing in things if issubclass(type(thing), torch.Tensor)]
        modules = [thing for thing in things if issubclass(type(thing), torch.nn.Module)]
        told = {
            "modules": len(modules),
            "networks": sum(type(module).__name__ in ("GpenGenerator", "RetinaFace") for module in modules),
            "tensors": len(tensors),
            "tensor_mb": round(sum(tensor.untyped_storage().nbytes() for tensor in tensors) / 1e6, 1),
            "objects": len(things),
        }
        return {"ui": {"text": [json.dumps(told)]}}


NODE_CLASS_MAPPINGS = {"SoakStatus": SoakStatus}
