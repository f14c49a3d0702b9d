"""One copy per file, type and device; really another one when any of them changes; really gone after release."""

import gc
import os
import shutil
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.models.load import load_restorer
from gpen_core.models.manager import ModelManager, shared_manager

SPEC = GpenSpec(size=16, style_dim=8, n_mlp=2, channels=(8, 6, 4))


def write_restorer(path, seed, spec=SPEC):
    torch.manual_seed(seed)
    save_file({key: value.clone() for key, value in GpenGenerator(spec).state_dict().items()}, path)
    return path


@pytest.fixture
def weights(tmp_path):
    return write_restorer(tmp_path / "face.safetensors", 1)


@pytest.fixture
def crop():
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Spy:
    """A model that remembers where it was moved."""

    def __init__(self, path, device, dtype):
        self.places = [torch.device(device).type]

    def to(self, device):
        self.places.append(torch.device(device).type)


def test_the_same_request_gives_the_same_model(weights):
    manager = ModelManager()
    assert manager.restorer(weights) is manager.restorer(str(weights))
    assert len(manager.held()) == 1


def test_a_link_to_the_file_is_the_file(weights, tmp_path):
    (tmp_path / "link.safetensors").symlink_to(weights)
    manager = ModelManager()
    assert manager.restorer(weights) is manager.restorer(tmp_path / "link.safetensors")


def test_a_file_exchanged_under_its_name_really_runs(weights, tmp_path, crop):
    manager = ModelManager()
    before = manager.restorer(weights)(crop)
    write_restorer(tmp_path / "new.safetensors", 2).replace(weights)
    after = manager.restorer(weights)(crop)
    assert (before - after).abs().max() > 0.01
    assert torch.equal(after, load_restorer(weights)(crop))
    assert len(manager.held()) == 1  # the old version went


def test_a_file_rewritten_in_place_with_the_same_length_really_runs(weights, tmp_path, crop):
    manager = ModelManager()
    old = manager.restorer(weights)
    before = old(crop)
    length = weights.stat().st_size
    content = write_restorer(tmp_path / "new.safetensors", 2).read_bytes()
    with weights.open("r+b") as file:
        file.write(content)
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert weights.stat().st_size == length
    assert (manager.restorer(weights)(crop) - before).abs().max() > 0.01
    assert torch.equal(old(crop), before)  # whoever still holds the old one is not disturbed


def test_another_type_really_computes_in_it(weights, crop):
    manager = ModelManager()
    single, half = manager.restorer(weights), manager.restorer(weights, dtype=torch.bfloat16)
    assert (single.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    assert 0 < (single(crop) - half(crop)).abs().max() < 0.1
    assert len(manager.held()) == 2


def test_another_device_is_another_copy(weights):
    manager = ModelManager()
    here, there = (manager.get("spy", Spy, weights, device=device) for device in ("cpu", "meta"))
    assert here is not there


def test_another_role_for_the_same_file_is_another_model(weights):
    manager = ModelManager()
    assert manager.get("a", Spy, weights) is not manager.get("b", Spy, weights)


def test_another_detector_really_runs(tmp_path):
    pytest.importorskip("facexlib")
    from gpen_core.models.retinaface.load import EMBEDDED
    from gpen_core.models.state_dict import read_state_dict

    changed = {key: value.clone() for key, value in read_state_dict(EMBEDDED).items()}
    changed["ClassHead.0.conv1x1.bias"] += 5
    save_file(changed, tmp_path / "other.safetensors")
    manager = ModelManager()
    picture = torch.zeros(1, 3, 64, 64)
    one, other = manager.detector()(picture), manager.detector(tmp_path / "other.safetensors")(picture)
    assert not torch.equal(one.scores, other.scores)


def test_none_is_the_embedded_model_and_a_name_that_is_not_here_says_how_to_fetch_it(monkeypatch, tmp_path):
    monkeypatch.setenv("GPEN_MODELS", str(tmp_path))
    manager = ModelManager()
    assert manager.restorer().source.name == "gpen_small_256.safetensors"
    with pytest.raises(WeightsNotFoundError, match="models fetch GPEN-BFR-2048"):
        manager.restorer("gpen-bfr-2048")


def test_threads_that_ask_at_once_load_once_and_share(weights):
    manager, loads, got = ModelManager(), [], []
    start = threading.Barrier(8)

    def slow(path, device, dtype):
        loads.append(path)
        time.sleep(0.2)
        return Spy(path, device, dtype)

    def ask():
        start.wait()
        got.append(manager.get("spy", slow, weights))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(model) for model in got}) == 1
    assert len(got) == 8


def test_different_models_load_side_by_side(weights):
    manager = ModelManager()
    both_inside = threading.Barrier(2, timeout=5)

    def load(path, device, dtype):
        both_inside.wait()
        return Spy(path, device, dtype)

    threads = [threading.Thread(target=manager.get, args=(role, load, weights)) for role in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.held()) == 2


def test_a_failed_load_is_not_kept(weights, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"x" * 100)
    manager = ModelManager()
    for _ in range(2):
        with pytest.raises(UnsupportedWeightsError, match=r"bad\.safetensors"):
            manager.restorer(bad)
    assert manager.held() == {}
    weights.replace(bad)
    assert manager.restorer(bad).size == 16


def test_the_one_asked_for_longest_ago_goes_first(tmp_path):
    manager = ModelManager(limit=2)
    paths = [write_restorer(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    manager.restorer(paths[0])
    manager.restorer(paths[1])
    manager.restorer(paths[0])
    manager.restorer(paths[2])
    assert [key.file.path.name for key in manager.held()] == ["0.safetensors", "2.safetensors"]


class TestPolicies:
    """Where a model goes when its last user leaves; "meta" stands in for a GPU."""

    def used(self, policy, weights):
        manager = ModelManager(policy)
        model = manager.get("spy", Spy, weights, device="meta")
        with manager.in_use(model):
            with manager.in_use(model):
                pass
            assert model.places == ["cpu", "meta"]
        return manager, model

    def test_offload_is_the_default_and_leaves_the_device(self, weights):
        manager, model = self.used(ModelManager().policy, weights)
        assert model.places == ["cpu", "meta", "cpu"]
        assert list(manager.held().values()) == [model]

    def test_keep_stays(self, weights):
        manager, model = self.used("keep", weights)
        assert model.places == ["cpu", "meta"]
        assert list(manager.held().values()) == [model]

    def test_drop_forgets(self, weights):
        manager, model = self.used("drop", weights)
        assert model.places == ["cpu", "meta", "cpu"]
        assert manager.held() == {}

    def test_an_error_inside_leaves_the_device_too(self, weights):
        manager = ModelManager()
        model = manager.get("spy", Spy, weights, device="meta")
        with pytest.raises(ValueError, match="inside"), manager.in_use(model):
            raise ValueError("inside")
        assert model.places[-1] == "cpu"

    @pytest.mark.parametrize("policy", ["offload", "keep"])
    def test_a_model_that_does_not_fit_leaves_nothing_on_the_device(self, weights, policy, monkeypatch):
        emptied = []
        monkeypatch.setattr("gpen_core.models.manager.empty_caches", lambda: emptied.append(True))
        manager = ModelManager(policy)
        small, large = (manager.get(name, Spy, weights, device="meta") for name in ("small", "large"))

        def fail_halfway(device):
            large.places.append(torch.device(device).type)
            if device.type == "meta":
                raise torch.OutOfMemoryError("out of memory")

        monkeypatch.setattr(large, "to", fail_halfway, raising=False)
        with pytest.raises(torch.OutOfMemoryError), manager.in_use(small, large):
            pytest.fail("ran without its model")
        assert large.places == ["cpu", "meta", "cpu"]
        assert small.places == (["cpu", "meta", "cpu"] if policy == "offload" else ["cpu", "meta"])
        assert emptied
        monkeypatch.undo()
        with manager.in_use(large):
            assert large.places[-1] == "meta"

    def test_it_leaves_only_with_its_last_user(self, weights):
        manager = ModelManager()
        model = manager.get("spy", Spy, weights, device="meta")
        first_in, first_may_go = threading.Event(), threading.Event()

        def first():
            with manager.in_use(model):
                first_in.set()
                first_may_go.wait(5)

        thread = threading.Thread(target=first)
        thread.start()
        first_in.wait(5)
        with manager.in_use(model):
            first_may_go.set()
            thread.join()
            assert model.places == ["cpu", "meta"]
        assert model.places == ["cpu", "meta", "cpu"]

    def test_a_model_from_elsewhere_is_left_alone(self):
        model = Spy(None, "cpu", None)
        with ModelManager().in_use(model):
            assert model.places == ["cpu"]

    def test_release_during_use_waits_for_the_user_to_leave(self, weights):
        manager = ModelManager()
        model = manager.get("spy", Spy, weights, device="meta")
        with manager.in_use(model):
            assert manager.release() == 1
            assert model.places == ["cpu", "meta"]
        assert model.places == ["cpu", "meta", "cpu"]
        assert manager.held() == {}

    def test_keep_leaves_the_device_on_release(self, weights):
        manager, model = self.used("keep", weights)
        manager.release()
        assert model.places == ["cpu", "meta", "cpu"]


def test_release_leaves_no_module_alive(weights, crop):
    manager = ModelManager()
    restorer, detector = manager.restorer(weights), manager.restorer(weights, dtype=torch.float16)
    restorer(crop)
    detector(crop)
    watched = [weakref.ref(module) for model in (restorer, detector) for module in model.network.modules()]
    watched += [weakref.ref(restorer), weakref.ref(detector)]
    del restorer, detector
    gc.collect()
    assert all(ref() is not None for ref in watched)
    assert manager.release() == 2
    assert [ref() for ref in watched if ref() is not None] == []


@pytest.mark.parametrize("limit", [1, 8])
def test_a_model_that_is_still_held_is_not_loaded_again(weights, limit):
    manager = ModelManager(limit=limit)
    held = manager.restorer(weights)
    manager.restorer()  # with room for one, the first is let go of here
    manager.release()
    assert manager.restorer(weights) is held
    assert manager.release() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_release_gives_memory_back_to_the_system(tmp_path):
    # 87 MB of weights in tensors of at most 8.4 MB, as a published GPEN has them: too small for the allocator to
    # map them one by one, so that freeing alone does not shrink the process.
    path = write_restorer(tmp_path / "large.safetensors", 1, GpenSpec.published(128, narrow=0.5))
    size = path.stat().st_size
    manager = ModelManager()
    manager.restorer(path)
    manager.release()
    empty = resident_bytes()
    for _ in range(3):
        manager.restorer(path)
        assert resident_bytes() - empty > 0.9 * size
        manager.release()
        assert resident_bytes() - empty < 0.1 * size


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_everything_shares_one_manager():
    assert shared_manager() is shared_manager()


def test_a_copy_of_the_file_elsewhere_is_another_file(weights, tmp_path):
    shutil.copy(weights, tmp_path / "copy.safetensors")
    manager = ModelManager()
    assert manager.restorer(weights) is not manager.restorer(tmp_path / "copy.safetensors")
