"""Products of matrices by either of torch's libraries."""

import pytest
import torch

from gpen_core.models.gpen import products
from gpen_core.models.gpen.products import multiply, multiply_each, onednn_is_faster


@pytest.fixture(params=[False, True], ids=["MKL", "oneDNN"])
def turned(request: pytest.FixtureRequest) -> bool:
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch was built without oneDNN")
    return request.param


def test_both_libraries_make_the_same_product(turned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(3, 7, 40, generator=generator), torch.randn(3, 40, 24, generator=generator)
    expected = (left.double() @ right.double()).float()
    given = right.transpose(1, 2).contiguous() if turned else right
    out = torch.empty(3, 7, 24)

    multiply_each(left, given, out, turned=turned)

    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(multiply(left[0], given[0], out[0], turned=turned), expected[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("seconds", "answer"), [((2.0, 1.0), True), ((1.2, 1.0), False), ((1.0, 2.0), False)])
def test_the_clearly_faster_library_is_taken(
    seconds: tuple[float, float], answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def take_time(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, *, turned: bool) -> torch.Tensor:
        nonlocal now
        now += seconds[turned]
        return out

    monkeypatch.setattr(products, "multiply", take_time)
    monkeypatch.setattr(products.time, "perf_counter", lambda: now)

    assert onednn_is_faster.__wrapped__() is answer


def test_a_torch_without_onednn_multiplies_with_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_OPERATOR", "no_such_operator")

    assert onednn_is_faster.__wrapped__() is False
