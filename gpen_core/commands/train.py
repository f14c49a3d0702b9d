"""The verb `train`: train a small GPEN generator on a folder of aligned faces."""

import argparse
from pathlib import Path

HELP = "train a small GPEN generator on a folder of aligned faces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned faces, with or without a margin")
    parser.add_argument("--out", type=Path, default=Path("gpen-train"), help="folder for checkpoint, log and weights")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--start-from",
        type=Path,
        help="weights to begin with, a file or a name such as gpen_small_256: of the same shape, narrower, or of half "
        "the size",
    )
    parser.add_argument("--images", type=int, default=100_000, help="pictures to see in all (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="pictures per step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-2, help="highest learning rate (default: %(default)s)")
    parser.add_argument(
        "--fall", type=float, default=1.0, help="last part of the run in which the rate falls (default: all of it)"
    )
    parser.add_argument("--size", type=int, default=256, help="side of the faces in pixels (default: %(default)s)")
    parser.add_argument("--aligned-size", type=int, default=256, help="template size the files are aligned in")
    parser.add_argument("--style-dim", type=int, default=128, help="length of the style vector (default: %(default)s)")
    parser.add_argument("--mlp", type=int, default=4, help="layers of the mapping network (default: %(default)s)")
    parser.add_argument(
        "--channels",
        type=int,
        nargs="+",
        metavar="N",
        help="width of every level from 4×4 up (default: small)",
    )
    parser.add_argument("--feature-weight", type=float, default=0.1, help="weight of the ImageNet feature loss")
    parser.add_argument(
        "--feature-blocks", type=int, default=3, help="blocks of that network to compare (default: %(default)s)"
    )
    parser.add_argument(
        "--adversarial", type=float, default=0.0, help="pull of a rival network, of all others'; for converged runs"
    )
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 (for processors with AMX)")
    parser.add_argument("--compile", action="store_true", help="compile the network: slow to start, faster afterwards")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare pictures (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=4_000, help="pictures between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and degradation")


def run(args: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    from ..training.loop import train
    from ..training.losses import LossWeights
    from ..training.settings import TrainSettings, small_spec
    from .shell import ShellProgress

    settings = TrainSettings(
        data=args.data,
        out=args.out,
        spec=small_spec(args.size, args.style_dim, args.mlp, args.channels),
        aligned_size=args.aligned_size,
        start_from=args.start_from,
        images=args.images,
        batch_size=args.batch,
        learning_rate=args.rate,
        fall=args.fall,
        loss=LossWeights(feature=args.feature_weight, feature_blocks=args.feature_blocks),
        adversarial=args.adversarial,
        precision="bfloat16" if args.bf16 else "float32",
        compile=args.compile,
        workers=args.workers,
        save_every=args.save_every,
        seed=args.seed,
    )
    with ShellProgress() as progress:
        path = train(settings, resume=args.resume, progress=progress)
    print(f"wrote {path}")
    return 0
