"""Time and memory of one network in its several forms, side by side on the same weights."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .machine import peak_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..models.gpen import GpenSpec

    Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]

CONFIGURATIONS: dict[str, dict[str, float]] = {"512": {"cm": 2, "narrow": 1.0}, "256": {"cm": 1, "narrow": 0.5}}
"""The published networks by the side of their picture."""

_PAUSE = 0.1
"""Seconds between two calls, in which the threads of the one before stop waiting for more."""

FORMS = ("fast", "fast, bf16", "plain", "onnxruntime", "official")
"""This package's fast form, in float32 and in bfloat16; its plain network; that one exported and run by onnxruntime;
the published code."""


@dataclass(frozen=True)
class Order:
    """What to measure of a network.

    Attributes:
        weights: a .safetensors file with its weights.
        forms: which of FORMS.
        threads: for each of them.
        rounds: how often each is called; the forms take turns.
        batch: faces in a call.
    """

    weights: Path
    forms: tuple[str, ...]
    threads: int
    rounds: int = 5
    batch: int = 1

    @property
    def exported(self) -> Path:
        """The file for onnxruntime."""
        return self.weights.with_suffix(".onnx")


def available_forms(official: Path | None) -> tuple[str, ...]:
    """Give the forms that can run here; the published code only from a checkout the user names.

    bfloat16 only where the processor multiplies it in hardware: elsewhere a call would take minutes.
    """
    from ..models.gpen.products import multiplies_bfloat16

    missing = set() if official else {"official"}
    if not multiplies_bfloat16():
        missing.add("fast, bf16")
    if not (find_spec("onnxruntime") and find_spec("onnx")):
        missing.add("onnxruntime")
    return tuple(form for form in FORMS if form not in missing)


def make_weights(path: Path, configuration: str, export: bool) -> None:
    """Write random weights of a published configuration, and their ONNX export if wanted."""
    import torch
    from safetensors.torch import save_file

    from ..models.gpen import GpenGenerator, GpenSpec

    torch.manual_seed(0)
    values = CONFIGURATIONS[configuration]
    network = GpenGenerator(GpenSpec.published(int(configuration), cm=int(values["cm"]), narrow=values["narrow"]))
    network.requires_grad_(False).eval()
    for name, value in network.named_parameters():
        if name.endswith(("bias", "noise.weight")):
            value.add_(0.3 * torch.randn(value.shape))
    save_file(network.state_dict(), path)
    if export:
        size = network.spec.size
        torch.onnx.export(network, (torch.zeros(1, 3, size, size),), str(path.with_suffix(".onnx")), dynamo=False)


def measure_speed(order: Order) -> dict[str, object]:
    """Call the forms in turns.

    Returns:
        `seconds` of every call by form, the `difference` of each form's picture from the plain one (largest, of a
        range of about 2), and `gemm`: seconds that the network's products alone would need at the speed of this
        machine's matrix product, measured in the same rounds.
    """
    import torch

    torch.set_num_threads(order.threads)
    spec = _spec(order.weights)
    picture = np.random.RandomState(1).uniform(-1, 1, (order.batch, 3, spec.size, spec.size)).astype(np.float32)
    calls = {form: _load(form, order) for form in order.forms}
    results = {form: call(picture) for form, call in calls.items()}
    seconds: dict[str, list[float]] = {form: [] for form in order.forms}
    work = 2.0 * products(spec) * order.batch
    bounds = []
    for _ in range(order.rounds):
        bounds.append(work / _gemm_speed(2048))
        for form, call in calls.items():
            time.sleep(_PAUSE)
            start = time.perf_counter()
            call(picture)
            seconds[form].append(time.perf_counter() - start)
    reference = results.get("plain")
    differences = {
        form: float(np.abs(result - reference).max()) for form, result in results.items() if reference is not None
    }
    return {"seconds": seconds, "difference": differences, "gemm": bounds}


def measure_memory(order: Order) -> dict[str, object]:
    """Load one form, call it once, and give the `peak` of this process in bytes, its imports (`before`) included."""
    import torch

    torch.set_num_threads(order.threads)
    (form,) = order.forms
    size = _spec(order.weights).size
    before = peak_memory()
    call = _load(form, order)
    call(np.zeros((order.batch, 3, size, size), dtype=np.float32))
    return {"peak": peak_memory(), "before": before}


def products(spec: "GpenSpec") -> float:
    """Count the multiplications of a generator's convolutions and linear layers, as the plain network makes them."""
    total, below = 0.0, None
    for level, width in enumerate(spec.channels):
        pixels = float((4 << level) ** 2)
        if below is not None:
            total += 9 * below * width * pixels / 4  # encoder, stride 2
            total += 9 * 2 * below * width * pixels / 4  # decoder, transposed
        total += 9 * (2 if below is not None else 1) * width**2 * pixels + 3 * 2 * width * pixels
        below = width
    total += 3 * spec.channels[-1] * spec.size**2
    return total + spec.style_dim * (16 * spec.channels[0] + spec.n_mlp * spec.style_dim)


def _spec(weights: Path) -> "GpenSpec":
    from ..models.gpen import GpenSpec
    from ..models.state_dict import read_layout

    return GpenSpec.from_state_dict(read_layout(weights))


def _load(form: str, order: Order) -> "Forward":
    if form == "onnxruntime":
        return _onnxruntime(order)
    if form.startswith("fast"):
        return _fast(order.weights, "bfloat16" if form.endswith("bf16") else "float32")
    return {"plain": _plain, "official": _official}[form](order.weights)


def _fast(weights: Path, precision: str) -> "Forward":
    import torch

    from ..models.gpen.fast import FastForm
    from ..models.load import load_restorer

    network = load_restorer(weights, dtype=getattr(torch, precision)).network
    run = FastForm().of(network) or network

    def call(picture: "NDArray[np.float32]") -> "NDArray[np.float32]":
        with torch.no_grad():
            result: NDArray[np.float32] = run(torch.from_numpy(picture)).numpy()
            return result

    return call


def _plain(weights: Path) -> "Forward":
    import torch

    from ..models.load import load_restorer

    network = load_restorer(weights).network

    def call(picture: "NDArray[np.float32]") -> "NDArray[np.float32]":
        with torch.no_grad():
            result: NDArray[np.float32] = network(torch.from_numpy(picture)).numpy()
            return result

    return call


def _onnxruntime(order: Order) -> "Forward":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = order.threads
    session = onnxruntime.InferenceSession(str(order.exported), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def call(picture: "NDArray[np.float32]") -> "NDArray[np.float32]":
        # The export is of one face, as its peers use it: a batch is as many calls.
        return np.concatenate([session.run(None, {name: face[None]})[0] for face in picture])

    return call


def _official(weights: Path) -> "Forward":
    """Load the published code, which the parent process has put on the path of this one."""
    import torch
    from safetensors.torch import load_file

    spec = _spec(weights)
    generator = import_module("gpen_model").FullGenerator(
        spec.size, spec.style_dim, spec.n_mlp, spec.channel_multiplier, narrow=spec.narrow, device="cpu"
    )
    generator.load_state_dict(load_file(weights))
    generator.eval()

    def call(picture: "NDArray[np.float32]") -> "NDArray[np.float32]":
        with torch.no_grad():
            result: NDArray[np.float32] = generator(torch.from_numpy(picture))[0].numpy()
            return result

    return call


def _gemm_speed(side: int) -> float:
    """Give the operations per second of a product by the library the fast form takes, in float32, the best of three."""
    import torch

    from ..models.gpen.products import onednn_is_faster, onednn_product

    left, right, out = (torch.ones(side, side) for _ in range(3))
    by_onednn = onednn_is_faster()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        if by_onednn:
            onednn_product(left, right)
        else:
            torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def ratios(seconds: Mapping[str, list[float]], form: str, to: str) -> list[float]:
    """Give `form`'s time as a part of `to`'s, round by round: what burdens the machine burdens both."""
    return [one / other for one, other in zip(seconds[form], seconds[to], strict=True)]
