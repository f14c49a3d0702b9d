"""`bench`: how fast this installation is, beside other ways to run the same network."""

import argparse
import json
import os
import subprocess  # nosec B404
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from ..bench import machine, networks, photo
from ..errors import GpenError, SettingsError

_PARTS = ("network", "batch", "threads", "megapixels", "faces")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = (
        "Networks have random weights of the published shapes; the forms of one network take turns, and ratios are "
        "medians over rounds, so that other load on the machine weighs on all of them. Every measurement runs in a "
        "process of its own. onnxruntime is measured if the packages onnx and onnxruntime are installed, bfloat16 "
        "where the processor multiplies it."
    )
    add = parser.add_argument
    add("--size", choices=tuple(networks.CONFIGURATIONS), action="append", help="network; default: 256 and 512")
    add("--parts", nargs="+", choices=_PARTS, default=list(_PARTS), metavar="PART", help=f"of {', '.join(_PARTS)}")
    add("--rounds", type=int, default=5, metavar="N", help="calls of each form (default %(default)s)")
    add("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="for torch (default: all cores)")
    add("--megapixels", type=float, nargs="+", default=[1, 4, 12, 24], metavar="MP", help="sizes of the photo")
    add("--official", type=Path, metavar="DIR", help="a checkout of the published code, to be measured too")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--child", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    if arguments.child:
        print(json.dumps(_work(json.loads(arguments.child))))
        return 0
    _check(arguments)
    record: dict[str, Any] = {"machine": machine.describe_machine(arguments.threads)}
    print(f"{record['machine']['processor']}, {arguments.threads} threads, load {record['machine']['load']}")
    available = networks.available_forms(arguments.official)
    if "onnxruntime" not in available:
        print("not measured: onnxruntime (install onnx and onnxruntime)")
    if "fast, bf16" not in available:
        print("not measured: bfloat16 (this processor does not multiply it)")
    with TemporaryDirectory() as folder:
        for size in arguments.size or networks.CONFIGURATIONS:
            record[f"network {size}"] = _network_parts(arguments, size, Path(folder))
    for part, orders in _photo_orders(arguments).items():
        record[part] = _photo_table(part, orders)
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what would fail only after minutes of measuring."""
    if min(arguments.rounds, arguments.threads) < 1 or not all(0 < size < inf for size in arguments.megapixels):
        raise SettingsError("expected at least one round and one thread, and photos of more than 0 megapixels")
    if arguments.official and not (arguments.official / "face_model" / "gpen_model.py").is_file():
        raise SettingsError(f'expected a checkout of GPEN with face_model/gpen_model.py, got "{arguments.official}".')
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        raise SettingsError(f'there is no folder "{arguments.json.parent}" to write the figures into')


def _network_parts(arguments: argparse.Namespace, size: str, folder: Path) -> dict[str, Any]:
    """Measure what is wanted of one network."""
    if not {"network", "batch", "threads"} & set(arguments.parts):
        return {}
    forms = networks.available_forms(arguments.official)
    weights = folder / f"{size}.safetensors"
    networks.make_weights(weights, size, export="onnxruntime" in forms)
    made: dict[str, Any] = {}
    if "network" in arguments.parts:
        order = networks.Order(weights, forms, arguments.threads, arguments.rounds)
        made["forms"] = _forms_table(f"Network {size}, one face", order, arguments.official)
    fast = {"forms": ("fast",), "rounds": arguments.rounds}
    if "batch" in arguments.parts:
        orders = {str(n): networks.Order(weights, threads=arguments.threads, batch=n, **fast) for n in (1, 2, 4, 8)}
        made["batch"] = _scaling_table(f"Network {size}, faces at once", orders)
    if "threads" in arguments.parts:
        counts = [n for n in (1, 2, 4, 8, 16, 32) if n < arguments.threads] + [arguments.threads]
        made["threads"] = _scaling_table(
            f"Network {size}, threads", {str(n): networks.Order(weights, threads=n, **fast) for n in counts}
        )
    weights.unlink()
    return made


def _forms_table(title: str, order: networks.Order, official: Path | None) -> dict[str, Any]:
    speed = _child("speed", order, official)
    peaks = {
        form: _child("memory", networks.Order(order.weights, (form,), order.threads), official)["peak"]
        for form in order.forms
    }
    seconds: Mapping[str, list[float]] = {**speed["seconds"], "products alone": speed["gemm"]}
    compared = {form: median(networks.ratios(seconds, "fast", form)) for form in seconds}
    print(f"\n{title}\n{'':16}{'median':>9}{'quartiles':>18}{'fast takes':>12}{'difference':>12}{'peak memory':>13}")
    for form, values in seconds.items():
        difference = f"{speed['difference'][form]:.1e}" if form in speed["difference"] else ""
        print(
            f"{form:16}{median(values):7.3f} s{_spread(values):>18}{compared[form]:10.2f} ×"
            f"{difference:>12}{_megabytes(peaks.get(form)):>13}"
        )
    return {
        "seconds": seconds,
        "summary": {form: _summary(values) for form, values in seconds.items()},
        "fast_to": compared,
        "difference": speed["difference"],
        "peak_bytes": peaks,
    }


def _scaling_table(title: str, orders: Mapping[str, networks.Order]) -> dict[str, Any]:
    print(f"\n{title}\n{'':16}{'median':>9}{'quartiles':>18}{'of the first':>14}{'peak memory':>13}")
    made: dict[str, Any] = {}
    first = 0.0
    for name, order in orders.items():
        values = _child("speed", order)["seconds"]["fast"]
        peak = _child("memory", order)["peak"]
        first = first or median(values)
        ratio = median(values) / first
        made[name] = {"seconds": values, "summary": _summary(values), "to_first": ratio, "peak_bytes": peak}
        times = f"{median(values):7.3f} s{_spread(values):>18}{ratio:12.2f} ×"
        print(f"{name:16}{times}{_megabytes(peak):>13}")
    return made


def _photo_orders(arguments: argparse.Namespace) -> dict[str, dict[str, photo.PhotoOrder]]:
    threads, rounds = arguments.threads, min(3, arguments.rounds)
    every = {
        "megapixels": {
            f"{size:g} MP, 1 face": photo.PhotoOrder(size, 1, threads, rounds=rounds) for size in arguments.megapixels
        },
        "faces": {
            f"12 MP, {count} faces": photo.PhotoOrder(12, count, threads, face_px=200, rounds=rounds)
            for count in (1, 4, 16)
        },
    }
    return {part: orders for part, orders in every.items() if part in arguments.parts}


def _photo_table(part: str, orders: Mapping[str, photo.PhotoOrder]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, order in orders.items():
        result = _child("photo", order)
        steps = {step: median(values) for step, values in result["seconds"].items()}
        if not made:
            print(f"\nWhole photo by {part}, embedded restorer, seconds")
            heads = "".join(f"{step:>9}" for step in steps)
            print(f"{'':16}{heads}{'all':>9}{'but network':>13}{'peak memory':>13}")
        everything = sum(steps.values())
        peak = _megabytes(result["peak"])
        row = "".join(f"{seconds:9.3f}" for seconds in steps.values())
        print(
            f"{name:16}{row}{everything:9.3f}{everything - steps['network']:13.3f}{peak:>13}  {result['found']} found"
        )
        made[name] = {**result, "summary": {step: _summary(values) for step, values in result["seconds"].items()}}
    return made


def _summary(values: Sequence[float]) -> dict[str, float]:
    """Give median and quartiles; of one value, itself."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def _spread(values: Sequence[float]) -> str:
    found = _summary(values)
    return f"{found['lower_quartile']:.3f}–{found['upper_quartile']:.3f}" if len(values) > 1 else ""


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.0f} MB"


def _child(task: str, order: networks.Order | photo.PhotoOrder, official: Path | None = None) -> dict[str, Any]:
    """Do a task in a process of its own."""
    official = official and official.resolve()  # the process runs in that folder
    words = [sys.executable, "-m", __package__.partition(".")[0], "bench", "--child"]
    message = json.dumps({"task": task, "order": asdict(order)}, default=str)
    places = [str(Path(__file__).parents[2]), *([str(official / "face_model"), str(official)] if official else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run(  # noqa: S603 (our own command line)  # nosec B603
        [*words, message], capture_output=True, text=True, env=environment, cwd=official, check=False
    )
    if done.returncode != 0:
        raise GpenError(f'the measurement "{task}" failed: {done.stderr.strip()[-500:]}')
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _work(message: Mapping[str, Any]) -> dict[str, object]:
    """Do in this process what `_child` asks for."""
    values = dict(message["order"])
    if values.get("weights") is not None:
        values["weights"] = Path(values["weights"])
    if message["task"] == "photo":
        return photo.measure_photo(photo.PhotoOrder(**values))
    order = networks.Order(**{**values, "forms": tuple(values["forms"])})
    return networks.measure_speed(order) if message["task"] == "speed" else networks.measure_memory(order)
