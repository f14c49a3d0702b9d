"""basicsr is used part by part, and leaves nothing behind in the host."""

import random
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from gpen_core import from_basicsr
from gpen_core.errors import MissingPackageError

needs_basicsr = pytest.mark.skipif(find_spec("basicsr") is None, reason="basicsr is not installed")


@needs_basicsr
def test_the_host_stays_as_it_was():
    before = set(sys.modules)
    from_basicsr.degradations.cache_clear()
    module = from_basicsr.degradations()
    added = {name for name in set(sys.modules) - before if "basicsr" in name or name.endswith(".functional_tensor")}
    assert callable(module.random_mixed_kernels)
    assert added == set()


@needs_basicsr
def test_niqe_rates_noise_as_less_natural_than_a_smooth_picture():
    niqe = from_basicsr.niqe_module().calculate_niqe
    from skimage import data

    photo = data.astronaut()[:192, 128:320]
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 40, photo.shape), 0, 255).astype(np.uint8)
    natural, unnatural = (float(np.squeeze(niqe(picture, crop_border=0))) for picture in (photo, noisy))
    assert natural < unnatural


@needs_basicsr
def test_the_upscaler_network_enlarges():
    network = from_basicsr.rrdbnet_class()(3, 3, scale=4, num_feat=4, num_block=1, num_grow_ch=2)
    with torch.no_grad():
        assert network(torch.rand(1, 3, 8, 6)).shape == (1, 3, 32, 24)


def test_seeding_lasts_only_inside():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    with from_basicsr.seeded_globals(9):
        first = random.random()
    assert random.random() == expected
    with from_basicsr.seeded_globals(9):
        assert random.random() == first


def test_a_missing_basicsr_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(from_basicsr.importlib.util, "find_spec", lambda name: None)
    from_basicsr.niqe_module.cache_clear()
    with pytest.raises(MissingPackageError, match="pip install basicsr"):
        from_basicsr.niqe_module()
