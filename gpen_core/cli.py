"""The command line: a table of verbs, each loaded when it is called."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from . import __version__
from .errors import CancelledError, GpenError

VERBS: dict[str, str] = {
    "restore": "restore the faces in a photo or in every photo of a folder",
    "check": "tell whether a photo is good enough to restore and print",
    "tone": "give skin a healthier tone without changing its hue",
    "print": "enlarge or lay out a photo for print",
    "compare": "put before and after side by side",
    "models": "list, fetch, verify, import and convert model weights",
    "bench": "measure the speed of this installation",
    "train": "train the small restorer on a folder of faces",
}
"""Each verb with its line in the help; `commands/<verb>.py` holds `add_arguments` and `run`."""

FAILED = 1
"""Exit code when something the user asked for was not done."""

CANCELLED = 130
"""Exit code after Ctrl-C, as shells use it."""

UNREAD = 141
"""Exit code when the program that reads the output has ended, such as `head`; as shells use it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after the program's name; `sys.argv` if None. Without a verb, "restore" runs.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage (raised as SystemExit), 130 cancelled,
        141 nobody reads the output.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that a console or a file on Windows cannot show are escaped
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "restore")
    arguments = _parse(words)
    logging.basicConfig(
        level=logging.DEBUG if arguments.debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    try:
        code = int(import_module(f".commands.{arguments.verb}", __package__).run(arguments))
        sys.stdout.flush()
    except (KeyboardInterrupt, CancelledError):
        _say("cancelled")
        return CANCELLED
    except BrokenPipeError:  # of the output: those of downloads are made a GpenError where they happen
        _drop_output()
        return UNREAD
    except (GpenError, OSError) as error:
        if arguments.debug:
            raise
        _say(str(error))
        return FAILED
    return code


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gpen_core", description="GPEN Portrait: a clearer picture of the same person."
    )
    parser.add_argument("--version", action="version", version=f"GPEN Portrait {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        chosen = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        chosen.add_argument("--debug", action="store_true", help="show log lines and the full trace of an error")
        if words[0] == verb:
            import_module(f".commands.{verb}", __package__).add_arguments(chosen)
    return parser.parse_args(words)


def _drop_output() -> None:
    """Throw away what the reader of the output has left unread; else Python would complain about it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> None:
    sys.stderr.write("gpen_core: " + " ".join(message.split()) + "\n")
