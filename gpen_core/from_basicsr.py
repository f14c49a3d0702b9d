"""What is used of basicsr, each part imported when first needed.

basicsr 1.4.2 imports `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed, and its package runs
every file it has when imported. Both are answered here: single files are loaded without their package, and the missing
module exists only while one is being loaded.
"""

import importlib.util
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from .errors import MissingPackageError

_MISSING_MODULE = "torchvision.transforms.functional_tensor"


@cache
def degradations() -> ModuleType:
    """Load `basicsr.data.degradations`: blur kernels, noise and JPEG compression on numpy pictures.

    Its functions draw from Python's and numpy's global generators: call them inside `seeded_globals`.

    Raises:
        MissingPackageError: if basicsr is not installed.
    """
    return _load_file("data/degradations.py")


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


def _load_file(path_in_package: str) -> ModuleType:
    spec = importlib.util.find_spec("basicsr")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "this step needs the package basicsr, which is not installed: pip install basicsr (Python below 3.13)"
        )
    path = Path(spec.submodule_search_locations[0]) / path_in_package
    file_spec = importlib.util.spec_from_file_location(f"{__package__}._basicsr_{path.stem}", path)
    if file_spec is None or file_spec.loader is None:
        raise MissingPackageError(f"the installed basicsr has no file {path_in_package}: pip install basicsr==1.4.2")
    module = importlib.util.module_from_spec(file_spec)
    with _functional_tensor():
        file_spec.loader.exec_module(module)
    return module


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
