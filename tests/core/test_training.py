"""Training: pairs are reproducible, a run can be interrupted, and its result loads like any other restorer."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from gpen_core.errors import PhotoError, SettingsError, UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.models.gpen import GpenSpec
from gpen_core.models.load import load_restorer
from gpen_core.models.state_dict import read_metadata
from gpen_core.training.data import FacePairs, find_faces, fit_to_template, read_face, vary_geometry
from gpen_core.training.degrade import DegradeSettings, degrade, jpeg, motion_kernel
from gpen_core.training.grow import grow, widen
from gpen_core.training.initial import initial_generator
from gpen_core.training.loop import Stepper, learning_rate, train
from gpen_core.training.losses import LossWeights, RestorationLoss, structural_similarity
from gpen_core.training.muon import Muon, orthogonalized
from gpen_core.training.rival import Rival
from gpen_core.training.settings import TrainSettings, small_spec
from gpen_core.training.state import new_state, resume_state, save_state
from gpen_core.training.validate import validation_set

pytestmark = pytest.mark.skipif(find_spec("basicsr") is None, reason="basicsr is not installed")

TINY = GpenSpec.published(32, style_dim=8, n_mlp=1, narrow=1 / 64)


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """Twelve pictures of 36 px in each of two sources: smooth colours with a bright spot."""
    folder = tmp_path_factory.mktemp("faces")
    random = np.random.default_rng(0)
    for number in range(24):
        picture = cv2.resize(random.uniform(40, 215, (4, 4, 3)).astype(np.float32), (36, 36))
        cv2.circle(picture, (12 + number % 9, 18), 4, (255, 240, 230), -1)
        name = f"{'house' if number < 12 else 'sfhq'}_{number:04d}.png"
        cv2.imwrite(str(folder / name), picture)
    return folder


@pytest.fixture
def settings(faces, tmp_path) -> TrainSettings:
    return TrainSettings(
        data=faces,
        out=tmp_path / "run",
        spec=TINY,
        aligned_size=32,
        images=8,
        batch_size=2,
        warm_up=2,
        loss=LossWeights(feature=0),
        workers=0,
        save_every=4,
    )


def test_the_last_tenth_of_every_source_is_kept_back(faces):
    files = find_faces(faces)
    assert [path.name for path in files.validation] == ["house_0011.png", "sfhq_0023.png"]
    assert len(files.train) == 22 and not set(files.train) & set(files.validation)


def test_a_folder_without_faces_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="holds 0 pictures; training needs at least ten of one source"):
        find_faces(tmp_path)
    with pytest.raises(SettingsError, match="there is no folder"):
        find_faces(tmp_path / "none")


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a_1.jpg").write_text("no picture")
    with pytest.raises(PhotoError, match=r"a_1\.jpg"):
        read_face(tmp_path / "a_1.jpg")


@pytest.mark.parametrize("count", [2, 4, 24])
def test_faces_to_validate_with_are_spread_over_the_files_there_are(faces, count):
    files = find_faces(faces).train[:4]
    clear = validation_set(files, 32, 32, count).clear
    assert len(clear.flatten(1).unique(dim=0)) == min(count, 4)


def test_the_same_pair_comes_again(faces):
    files = find_faces(faces).train
    pairs = FacePairs(files, 32, 32, seed=3, length=100, settings=DegradeSettings.for_size(32))
    poor, clear = pairs[40]
    again = FacePairs(files, 32, 32, seed=3, length=100, settings=DegradeSettings.for_size(32))[40]
    assert poor.shape == clear.shape == (3, 32, 32) and poor.dtype == torch.uint8
    assert torch.equal(poor, again[0]) and torch.equal(clear, again[1])
    assert not torch.equal(poor, pairs[41][0])


def test_faces_are_bent_softly_and_never_folded():
    """Of a picture of its own coordinates, half are plain cuts; the others follow no straight map, and turn nowhere."""
    x, y = np.meshgrid(np.arange(288, dtype=np.float32), np.arange(288, dtype=np.float32))
    picture = np.stack((x, y, x), axis=-1) / 288
    places = np.stack((x, y, np.ones_like(x)), axis=-1)[40:216, 40:216].reshape(-1, 3)
    largest_bends = []
    for seed in range(20):
        varied = vary_geometry(picture, 256, np.random.default_rng(seed)).astype(np.float64) * 288
        inner = varied[40:216, 40:216, :2]
        across, down = np.abs(np.diff(inner[:, :, 0], axis=1)), np.diff(inner[:, :, 1], axis=0)
        assert across.min() > 0.3 and across.max() < 1.8 and down.min() > 0.3 and down.max() < 1.8
        found = inner.reshape(-1, 2)
        straight = places @ np.linalg.lstsq(places, found, rcond=None)[0]
        largest_bends.append(np.abs(found - straight).max())
    bent = [bend for bend in largest_bends if bend > 0.5]
    assert 5 <= len(bent) <= 15 and max(bent) < 13


def test_degrading_repeats_by_seed_and_leaves_the_global_generators_alone():
    clear = np.random.default_rng(1).random((64, 64, 3), np.float32)
    before = clear.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (basicsr draws from this generator)
    first, second, other = (degrade(clear, seed, DegradeSettings()) for seed in (7, 7, 8))
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert first.shape == clear.shape and first.dtype == np.float32 and first.min() >= 0 and first.max() <= 1
    assert np.array_equal(clear, before)


def test_a_clear_picture_can_stay_clear():
    clear = np.random.default_rng(1).random((32, 32, 3), np.float32)
    assert np.array_equal(degrade(clear, 0, DegradeSettings(clean_chance=1.0)), clear)


def test_noise_of_single_pixels_stays_where_nothing_scales_or_compresses():
    """A first order without both is the picture and noise that no pixel shares with the next."""
    clear = np.full((128, 128, 3), 0.5, np.float32)
    common = {"blur_chance": 0.0, "motion_chance": 0.0, "second_chance": 0.0, "clean_chance": 0.0}

    def neighbours_agree(**chances: float) -> float:
        settings = DegradeSettings(shrink=(2.0, 2.0), noise_sigma=(10.0, 10.0), **common, **chances)
        noise = (degrade(clear, 3, settings) - clear)[..., 1]
        return float(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1])

    assert abs(neighbours_agree(keep_size_chance=1.0, no_jpeg_chance=1.0)) < 0.05
    assert neighbours_agree(keep_size_chance=0.0, no_jpeg_chance=1.0) > 0.3


def test_jpeg_keeps_colours_in_their_channels():
    red = np.zeros((16, 16, 3), np.float32) + np.array([0.9, 0.1, 0.2], np.float32)
    assert np.abs(jpeg(red, 90) - red).max() < 0.02


@pytest.mark.parametrize(("degrees", "extent"), [(0, (1, 7)), (90, (7, 1))])
def test_motion_runs_along_its_direction(degrees, extent):
    kernel = motion_kernel(6, degrees)
    rows, columns = np.nonzero(kernel > 0.05)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == extent
    assert kernel.sum() == pytest.approx(1)


def test_faces_are_scaled_with_their_margin():
    assert fit_to_template(np.zeros((288, 288, 3), np.float32), 256, 128).shape == (144, 144, 3)


def test_the_first_generator_gives_back_its_input():
    network = initial_generator(GpenSpec.published(64, 16, 2, cm=1, narrow=1 / 16), seed=0)
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert (network(picture) - picture).abs().mean() < 0.05


def test_growing_keeps_what_the_small_generator_does():
    small = initial_generator(GpenSpec.published(32, 16, 2, cm=1, narrow=1 / 16), seed=0)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        large = grow(small, seed=1)
        smooth = functional.interpolate(torch.rand(2, 3, 8, 8) * 2 - 1, size=64, mode="bicubic")
        halved = functional.avg_pool2d(smooth, 2)
        doubled = functional.interpolate(small(halved), size=64, mode="bilinear")
        assert large.spec.size == 64
        assert (large(smooth) - doubled).abs().mean() < 0.06
        assert (large(smooth) - smooth).abs().mean() < 0.15


def test_widening_changes_nothing_at_first():
    narrow = initial_generator(GpenSpec(32, 16, 2, (10, 10, 8, 6)), seed=0)
    picture = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        for parameter in narrow.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        wide = widen(narrow, (16, 12, 8, 7), seed=1)
        assert wide.spec == GpenSpec(32, 16, 2, (16, 12, 8, 7))
        assert (wide(picture) - narrow(picture)).abs().max() < 1e-5


def test_the_new_channels_of_a_widened_generator_learn():
    wide = widen(initial_generator(GpenSpec(16, 8, 1, (8, 8, 6)), seed=0), (12, 12, 8), seed=1)
    wide(torch.rand(2, 3, 16, 16) * 2 - 1).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in wide.parameters())


def test_the_learning_rate_rises_then_falls():
    settings = TrainSettings(Path(), Path(), images=1000, warm_up=100, batch_size=10, learning_rate=0.01)
    rates = [learning_rate(settings, images) for images in (0, 100, 550, 1000)]
    assert rates == pytest.approx([0.01 * 10 / 110, 0.01, 0.0051, 0.0002], rel=0.01)


def test_the_learning_rate_may_stay_and_fall_in_the_last_part_only():
    settings = TrainSettings(Path(), Path(), images=1100, warm_up=100, batch_size=10, learning_rate=0.01, fall=0.4)
    rates = [learning_rate(settings, images) for images in (100, 700, 900, 1100)]
    assert rates == pytest.approx([0.01, 0.01, 0.0051, 0.0002])


def test_muon_steps_with_the_same_strength_in_every_direction():
    weight = torch.nn.Parameter(torch.zeros(1, 6, 2, 3, 3))
    gradient = torch.randn(6, 18, generator=torch.Generator().manual_seed(0))
    gradient[:3] *= 0.01
    weight.grad = gradient.view(weight.shape)
    Muon([weight], lr=0.1).step()
    strengths = torch.linalg.svdvals(weight.detach().view(6, 18))
    assert strengths.min() > 0.6 * strengths.max()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.1, rel=0.2)
    assert (weight.view(6, 18) * gradient).sum() < 0


def test_singular_values_become_equal_in_bfloat16_too():
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(2))
    made = orthogonalized(matrix, torch.bfloat16)
    strengths = torch.linalg.svdvals(made)
    assert made.dtype == torch.float32 and strengths.min() > 0.6 and strengths.max() < 1.25
    assert (made - orthogonalized(matrix)).norm() < 0.05 * made.norm()


def test_no_gradient_direction_is_no_step():
    assert torch.equal(orthogonalized(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_a_small_generator_has_one_width_for_each_level():
    assert small_spec(64).channels == (160, 160, 160, 128, 112)
    assert small_spec(16, channels=[8, 6, 4]) == GpenSpec(16, 128, 4, (8, 6, 4))
    for size, channels in ((48, None), (512, None), (64, [8, 8]), (2, None), (4, [8]), (0, None), (8, [8, 0])):
        with pytest.raises(SettingsError, match=f"got size {size} and widths"):
            small_spec(size, channels=channels)
    for style_dim, layers in ((0, 4), (8, -1)):
        with pytest.raises(SettingsError, match=f"got {style_dim}, {layers}"):
            small_spec(64, style_dim, layers)


@pytest.mark.parametrize(
    ("name", "least"),
    [("images", 0), ("batch_size", 1), ("ema_images", 1), ("aligned_size", 1), ("workers", 0), ("save_every", 1)],
)
def test_counts_have_a_least_value(name, least):
    TrainSettings(Path(), Path(), **{name: least})
    with pytest.raises(SettingsError, match=f"expected {name} of at least {least}, got {least - 1}"):
        TrainSettings(Path(), Path(), **{name: least - 1})


def test_six_channels_carry_the_picture_at_first():
    initial_generator(GpenSpec(8, 8, 1, (8, 6)), seed=0)
    with pytest.raises(SettingsError, match="expected a last width of at least 6, which carry the picture, got 5"):
        initial_generator(GpenSpec(8, 8, 1, (8, 5)), seed=0)


def test_structural_similarity_is_what_it_says_on_a_plain_case():
    """Of white noise and its negative, and of two noises, each window's covariance is known: −1, and near 0."""
    noise = 0.5 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(1, 3, 64, 64)
    assert structural_similarity(noise, noise) == pytest.approx(1, abs=1e-5)
    assert -1 < structural_similarity(noise, -noise) < -0.8
    assert abs(structural_similarity(noise, noise.flip(-1))) < 0.1
    flat = torch.zeros(1, 3, 16, 16)
    lighter = flat + 0.4  # 0.5 and 0.7 of the range: (2·0.5·0.7 + c) / (0.5² + 0.7² + c)
    assert structural_similarity(flat, lighter) == pytest.approx(0.7001 / 0.7401, abs=1e-3)


def test_a_loss_is_zero_for_the_truth_and_looks_harder_at_the_eyes():
    loss = RestorationLoss(64, LossWeights(feature=0))
    truth = torch.zeros(1, 3, 64, 64)
    at_eye, at_corner = truth.clone(), truth.clone()
    at_eye[..., 30, 25] = 1
    at_corner[..., 2, 2] = 1
    assert loss(truth, truth)["total"] < 5e-3 * 1.2
    assert loss(at_eye, truth)["pixel"] > loss(at_corner, truth)["pixel"]


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(settings):
    train(settings)
    halves = replace(settings, out=settings.out.with_name("halves"))
    with pytest.raises(KeyboardInterrupt):
        train(halves, progress=StopAfter(4))
    train(halves, resume=True)
    whole = load_restorer(settings.out / "ema.safetensors")
    resumed = load_restorer(halves.out / "ema.safetensors")
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[key]), key


@pytest.mark.parametrize("unreached", ["save_state", "export_generator"])
def test_a_run_interrupted_in_its_last_report_exports_when_it_is_resumed(settings, monkeypatch, unreached):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        train(replace(settings, images=4))
        patched.setattr(f"gpen_core.training.loop.{unreached}", interrupt)
        train(settings, resume=True)
    train(settings, resume=True)
    assert read_metadata(settings.out / "ema.safetensors")["images"] == "8"


def test_a_run_that_does_not_end_with_a_whole_batch_is_saved_all_the_same(settings):
    path = train(replace(settings, images=7, batch_size=3, save_every=100))
    assert read_metadata(path)["images"] == "6"
    assert resume_state(settings).images == 6


def test_a_run_without_a_step_to_do_is_refused(settings):
    for images in (0, 1):
        with pytest.raises(SettingsError, match=r"no step is left to do: 0 pictures were seen, a step takes 2, .* 2$"):
            train(replace(settings, images=images))
    path = train(settings)
    for images in (4, 8, 9):
        with pytest.raises(SettingsError, match=r"8 pictures were seen, .* let it see at least 10$"):
            train(replace(settings, images=images), resume=True)
    path.unlink()
    assert train(settings, resume=True).is_file()


def test_a_run_leaves_weights_a_log_and_a_sheet(settings):
    path = train(settings)
    restorer = load_restorer(path)
    assert restorer.spec == TINY and restorer.template == "gpen"
    lines = (settings.out / "log.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["4", "8"]
    assert (settings.out / "sheet_0000008.png").is_file()


def test_steps_lower_the_loss_of_their_batch(settings):
    step = Stepper(replace(settings, images=1000, learning_rate=0.02), new_state(settings))
    poor, clear = (
        torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1,
        torch.zeros(2, 3, 32, 32),
    )
    losses = [step(poor, clear)["total"] for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_rival_joins_a_run_and_is_remembered(settings):
    train(settings)
    with_rival = replace(settings, images=12, adversarial=0.1)
    train(with_rival, resume=True)
    assert "rival" in (settings.out / "log.txt").read_text().splitlines()[-1]
    saved = resume_state(with_rival).rival.network.state_dict()
    fresh = new_state(with_rival).rival.network.state_dict()
    assert any(not torch.equal(saved[key], fresh[key]) for key in saved)

    train(replace(settings, images=16), resume=True)  # it rests
    assert "rival" not in (settings.out / "log.txt").read_text().splitlines()[-1]
    kept = resume_state(with_rival).rival.network.state_dict()
    assert all(torch.equal(saved[key], kept[key]) for key in saved)


def test_a_rival_pulls_as_strongly_as_it_is_told(settings):
    with_rival = replace(settings, adversarial=0.5)
    step = Stepper(with_rival, new_state(with_rival))
    random = torch.Generator().manual_seed(0)
    poor, clear = (torch.rand(2, 3, 32, 32, generator=random) * 2 - 1 for _ in range(2))
    restored = poor.clone().requires_grad_()

    (alone,) = torch.autograd.grad(step.loss(restored, clear)["total"], restored)
    _, pull = step._judge(poor, restored, clear)

    assert (pull - alone).norm() == pytest.approx(float(alone.norm()) / 2, rel=1e-3)


def test_a_rival_learns_to_tell_true_from_restored():
    rival = Rival(2e-3, seed=0)
    random = torch.Generator().manual_seed(0)
    clear = torch.rand(4, 3, 32, 32, generator=random) * 2 - 1
    restored = functional.avg_pool2d(clear, 3, stride=1, padding=1)
    losses = [rival.learn(restored, restored, clear) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert rival.displeasure(restored, restored) > rival.displeasure(restored, clear)


def test_a_run_grows_from_half_the_size(settings):
    small = replace(settings, spec=GpenSpec(16, 8, 1, (8, 8, 8)), out=settings.out.with_name("small"), aligned_size=32)
    large = replace(settings, spec=GpenSpec(32, 8, 1, (8, 8, 8, 6)), start_from=train(small))
    assert load_restorer(train(large)).size == 32


def test_a_run_starts_from_trained_weights_of_its_shape_or_a_narrower_one(settings):
    first = replace(settings, out=settings.out.with_name("first"))
    weights = train(first)
    same = new_state(replace(settings, start_from=weights)).network
    stored = load_restorer(weights).network.state_dict()
    assert all(torch.equal(value, stored[key].float()) for key, value in same.state_dict().items())
    channels = tuple(width + 2 for width in settings.spec.channels)
    wide = replace(settings, spec=replace(settings.spec, channels=channels), start_from=weights)
    assert load_restorer(train(wide)).network.spec.channels == channels


@pytest.mark.parametrize("spec", [GpenSpec(32, 16, 1, (8, 8, 8, 8)), GpenSpec(8, 8, 1, (8, 8))])
def test_a_run_never_starts_from_weights_of_another_shape(settings, spec):
    weights = train(replace(settings, out=settings.out.with_name("first")))
    with pytest.raises(SettingsError, match="narrower ones or half the size"):
        train(replace(settings, spec=spec, start_from=weights))


def test_bfloat16_is_refused_where_the_processor_does_not_multiply_it(settings, monkeypatch):
    monkeypatch.setattr("gpen_core.training.loop.multiplies_bfloat16", lambda: False)
    with pytest.raises(SettingsError, match=r"does not multiply bfloat16, .*; leave --bf16 out"):
        train(replace(settings, precision="bfloat16"))
    assert not settings.out.exists()


def test_a_run_is_never_begun_over_another(settings):
    train(settings)
    with pytest.raises(SettingsError, match="holds a checkpoint already; add --resume"):
        train(settings)


@pytest.mark.parametrize("damage", ["cut short", "another file", "a pickle", "weights alone"])
def test_a_checkpoint_that_is_none_is_named(settings, damage):
    settings.out.mkdir()
    path = save_state(new_state(settings), settings.out)
    if damage == "weights alone":
        torch.save(new_state(settings).network.state_dict(), path)
    else:
        whole = path.read_bytes()
        path.write_bytes(
            {"cut short": whole[: len(whole) // 2], "another file": b"GIF89a", "a pickle": b"\x80\x04N."}[damage]
        )
    with pytest.raises(UnsupportedWeightsError, match=r"last\.pth. .*no checkpoint of a run\. Start anew in another"):
        train(settings, resume=True)


def test_resuming_needs_a_checkpoint_of_the_same_shape(settings):
    with pytest.raises(WeightsNotFoundError, match="there is no checkpoint"):
        train(settings, resume=True)
    train(settings)
    with pytest.raises(UnsupportedWeightsError, match="was trained with another shape"):
        train(replace(settings, spec=replace(TINY, n_mlp=2)), resume=True)


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


class StopAfter:
    """A progress that interrupts as a user would, once `images` were seen."""

    def __init__(self, images: int) -> None:
        self.left = images

    def start(self, total: int, label: str) -> None:
        pass

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        self.left -= units

    def check_cancelled(self) -> None:
        if self.left <= 0:
            raise KeyboardInterrupt
