"""Products of matrices by either of torch's libraries."""

from collections.abc import Callable

import pytest
import torch

from gpen_core.models.gpen import products
from gpen_core.models.gpen.products import multiplies_bfloat16, multiply_each, onednn_is_faster

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@pytest.fixture(params=[False, True], ids=["MKL", "oneDNN"])
def onednn(request: pytest.FixtureRequest) -> bool:
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch was built without oneDNN")
    return request.param


def test_both_libraries_make_the_same_product(onednn: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(3, 7, 40, generator=generator), torch.randn(3, 40, 24, generator=generator)
    expected = (left.double() @ right.double()).float()
    out = torch.empty(3, 7, 24)

    multiply_each(left, right, out, onednn=onednn)

    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("seconds", "answer"), [((2.0, 1.0), True), ((1.2, 1.0), False), ((1.0, 2.0), False)])
def test_the_clearly_faster_library_is_taken(
    seconds: tuple[float, float], answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def take_time(library: int) -> None:
        nonlocal now
        now += seconds[library]

    monkeypatch.setattr(products, "_onednn_agrees", lambda left, right: True)
    monkeypatch.setattr(torch, "mm", lambda left, right, out: take_time(0))
    monkeypatch.setattr(products, "onednn_product", lambda left, right: take_time(1))
    monkeypatch.setattr(products.time, "perf_counter", lambda: now)

    assert onednn_is_faster.__wrapped__() is answer


@pytest.mark.parametrize(("seconds", "answer"), [((0.5, 1.0), True), ((1.2, 1.0), True), ((20.0, 1.0), False)])
def test_bfloat16_that_takes_longer_than_float32_is_imitated(
    seconds: tuple[float, float], answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter(seconds)
    monkeypatch.setattr(products, "onednn_is_faster", lambda: False)
    monkeypatch.setattr(products, "_fastest", lambda multiply: next(taken))

    assert multiplies_bfloat16.__wrapped__() is answer


def test_a_torch_without_onednn_multiplies_with_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_OPERATOR", "no_such_operator")

    assert onednn_is_faster.__wrapped__() is False


def _refused(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("could not create a primitive")


@pytest.mark.parametrize(
    "product", [_refused, lambda left, right: left @ right.t(), lambda left, right: left[:1] @ right]
)
def test_an_operator_that_refuses_or_errs_is_not_used(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_MARGIN", 0.0)  # the faster one without doubt
    monkeypatch.setattr(products, "onednn_product", product)

    assert onednn_is_faster.__wrapped__() is False
