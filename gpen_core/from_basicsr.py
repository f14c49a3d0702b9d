"""What is used of basicsr, each part imported when first needed.

basicsr 1.4.2 imports `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed, and its packages run
every file they have when imported. Both are answered here: single files are imported below packages that run nothing,
and neither those packages nor the stand-in for the missing module stay behind.
"""

import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from torch import nn

from .errors import MissingPackageError

_MISSING_MODULE = "torchvision.transforms.functional_tensor"
_PACKAGES = ("archs", "data", "metrics", "utils")
_HOME_IN_UTILS = {"bgr2ycbcr": "color_util", "get_root_logger": "logger"}


@cache
def degradations() -> ModuleType:
    """Load `basicsr.data.degradations`: blur kernels, noise and JPEG compression on numpy pictures.

    Its functions draw from Python's and numpy's global generators: call them inside `seeded_globals`.

    Raises:
        MissingPackageError: if basicsr is not installed.
    """
    return _load("basicsr.data.degradations")


@cache
def niqe_module() -> ModuleType:
    """Load `basicsr.metrics.niqe`, whose `calculate_niqe` rates a picture's naturalness without a reference.

    Raises:
        MissingPackageError: if basicsr is not installed.
    Source: Mittal et al. 2013, "Making a Completely Blind Image Quality Analyzer".
    """
    return _load("basicsr.metrics.niqe")


@cache
def rrdbnet_class() -> Callable[..., nn.Module]:
    """Load the network class of the ESRGAN upscalers, `basicsr.archs.rrdbnet_arch.RRDBNet`.

    Raises:
        MissingPackageError: if basicsr is not installed.
    Source: Wang et al. 2018, ESRGAN; Wang et al. 2021, Real-ESRGAN.
    """
    return _load("basicsr.archs.rrdbnet_arch").RRDBNet


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seed Python's and numpy's global generators for a while, and put their states back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (basicsr draws from it)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _load(name: str) -> ModuleType:
    spec = importlib.util.find_spec("basicsr")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "this step needs the package basicsr, which is not installed: pip install basicsr (Python below 3.13)"
        )
    with _functional_tensor(), _bare_packages(Path(spec.submodule_search_locations[0])):
        return importlib.import_module(name)


@contextmanager
def _bare_packages(folder: Path) -> Iterator[None]:
    """Stand in for basicsr's packages, unless the host has imported them already; forget them afterwards."""
    if "basicsr" in sys.modules:
        yield
        return
    for name in ("", *_PACKAGES):
        package = ModuleType(f"basicsr.{name}".rstrip("."))
        package.__path__ = [str(folder / name)]
        sys.modules[package.__name__] = package
    sys.modules["basicsr.utils"].__getattr__ = _from_utils  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == "basicsr" or name.startswith("basicsr.")]:
            del sys.modules[name]


def _from_utils(name: str) -> object:
    """Answer `from basicsr.utils import name` for the names that the loaded files ask for (PEP 562)."""
    if name not in _HOME_IN_UTILS:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"basicsr.utils.{_HOME_IN_UTILS[name]}"), name)


@contextmanager
def _functional_tensor() -> Iterator[None]:
    """Stand in for the module torchvision removed, while basicsr asks for its one function."""
    from torchvision.transforms import functional

    if importlib.util.find_spec(_MISSING_MODULE) is not None:
        yield
        return
    stand_in = ModuleType(_MISSING_MODULE)
    stand_in.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_MISSING_MODULE] = stand_in
    try:
        yield
    finally:
        del sys.modules[_MISSING_MODULE]
