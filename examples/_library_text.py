"""The text of modules of the Python standard library, as integers: tab 0, newline 1, printable
ASCII 2 to 96; anything else becomes '?'.
"""

import sysconfig
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

VOCABULARY = 97

_MODULES = """
    argparse ast calendar cmd configparser contextlib copy csv dataclasses difflib dis doctest enum
    fractions functools gettext heapq inspect locale mailbox optparse pdb pickle platform random
    shutil socket statistics string subprocess tarfile textwrap threading tokenize typing uuid
"""
FILES = tuple(f"{name}.py" for name in _MODULES.split())
HELD_OUT = ("bisect.py", "shelve.py", "queue.py", "sched.py", "pprint.py", "glob.py")


@cache
def text(names: tuple[str, ...]) -> Integers:
    """Return standard-library modules as integers below VOCABULARY; read once, and read-only."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    there = [(folder / name).read_bytes() for name in names if (folder / name).exists()]
    raw = np.frombuffer(b"\n".join(there), np.uint8)
    printable = np.where((raw >= 32) & (raw < 127), raw - 30, ord("?") - 30)
    corpus = np.where(raw == 9, 0, np.where(raw == 10, 1, printable)).astype(np.int64)
    corpus.flags.writeable = False
    return corpus


def single_blanks(corpus: Integers) -> Integers:
    """Return a text with runs of blanks, its indentation, cut to one: what is left tells more of
    its characters.
    """
    blank = corpus == ord(" ") - 30
    kept: Integers = corpus[~(blank & np.concatenate([[False], blank[:-1]]))]
    return kept


def windows(corpus: Integers, length: int, batch: int, rng: np.random.Generator) -> Integers:
    """Return random stretches of a text, shape (batch, length)."""
    starts = rng.integers(0, len(corpus) - length, batch)
    found: Integers = corpus[starts[:, None] + np.arange(length)]
    return found
