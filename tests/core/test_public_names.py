"""The package's own table of contents."""

import subprocess
import sys
from pathlib import Path

import pytest

import gpen_core


@pytest.mark.parametrize("name", gpen_core.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(gpen_core, name) is not None


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="FaceRestoreHelper"):
        _ = gpen_core.FaceRestoreHelper


def test_importing_does_nothing_heavy() -> None:
    script = "import sys, gpen_core; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(gpen_core.__file__).parents[1]).returncode == 0
