"""Random numbers by counting: the published words, the same in every library, and as random as
their moments say.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_cupy import installed
from namespaces import LIBRARIES, Library
from scipy import stats

from approxattn import sketching
from approxattn._arrays import HostArray
from approxattn.sketching.streams import Once, Stream, device_halves, philox, stream

KEY = 0x0123456789ABCDEF, 2**64 - 5
ONES = 2**64 - 1
HERE = np.zeros(1)
PUBLISHED = [  # philox4x64 in kat_vectors of Random123, 10 rounds: counter, key, words
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (ONES, ONES, ONES, ONES),
        (ONES, ONES),
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


def signed(words: tuple[int, ...]) -> list[HostArray]:
    return [np.array([w], np.uint64).astype(np.int64) for w in words]


@pytest.mark.parametrize(("counter", "key", "words"), PUBLISHED)
def test_published_words(
    counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    assert philox(signed(counter), key) == signed(words)


def words_of_numpy(key: tuple[int, int], count: int) -> HostArray:
    raw = np.random.Philox(key=np.array(key, np.uint64)).random_raw(count)
    return np.stack([raw & np.uint64(0xFFFFFFFF), raw >> np.uint64(32)], axis=-1).reshape(-1)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("key", [KEY, (0, 0), (2**63, 2**63 - 1)])
def test_every_library_makes_the_words_of_numpy(library: Library, key: tuple[int, int]) -> None:
    wanted = words_of_numpy(key, 4 * 40)
    like = library.put(HERE)
    for first, blocks in ((0, 40), (7, 9), (39, 1)):
        halves = library.get(device_halves(key, first, blocks, like))
        np.testing.assert_array_equal(halves, wanted[8 * first : 8 * (first + blocks)])


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 8193, 30_000])
def test_a_device_has_the_numbers_of_the_host(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, whatever the length: also where several blocks are made."""
    monkeypatch.setattr("approxattn.sketching.streams.DEVICE_BLOCK", 4096)
    own = Stream(key=KEY)
    with installed() as cupy:
        like = cupy.asarray(np.zeros(3, "f4"))
        for found, wanted in (
            (own.below(11, count, like), own.below(11, count, HERE)),
            (own.entries((-1.0, 0.5, 2.0), count, like, "float32"), None),
            (own.normal(count, like, 0.5, "float64"), own.normal(count, HERE, 0.5, "float64")),
        ):
            if wanted is None:
                wanted = own.entries((-1.0, 0.5, 2.0), count, HERE, "float32")
            assert found.dtype == wanted.dtype
            np.testing.assert_allclose(found.get(), wanted, rtol=1e-15, atol=0)


def test_normal_numbers() -> None:
    """Moments up to the sixth within five standard errors, and the distribution by Kolmogorov and
    Smirnov; a factor is a factor.
    """
    n = 2**20
    x = Stream(key=KEY).normal(n, HERE, 1.0, "float64")
    moments = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15}
    second = {1: 1, 2: 3, 3: 15, 4: 105, 5: 945, 6: 10395}
    for power, mean in moments.items():
        error = math.sqrt((second[power] - mean**2) / n)
        assert abs(np.mean(x**power) - mean) < 5 * error, power
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert np.max(np.abs(x)) < 6.8
    np.testing.assert_allclose(Stream(key=KEY).normal(99, HERE, 0.25, "float64"), x[:99] / 4)


def test_neighbours_and_keys_are_independent() -> None:
    """Products of numbers of one pair, of neighbouring pairs, of tokens, and of two keys."""
    n = 2**18
    x = Stream(key=KEY).normal(n, HERE, 1.0, "float64")
    y = Stream(key=(KEY[0] + 1, KEY[1])).normal(n, HERE, 1.0, "float64")
    for lag in (1, 2, 3, 8, 16, 64, 256):
        a, b = x[:-lag], x[lag:]
        for f in (np.array, np.square):
            assert abs(np.corrcoef(f(a), f(b))[0, 1]) < 5 / math.sqrt(n), lag
    assert abs(np.corrcoef(x, y)[0, 1]) < 5 / math.sqrt(n)
    pair = x.reshape(-1, 2)
    turn = np.arctan2(pair[:, 1], pair[:, 0])
    assert stats.kstest(turn, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(turn, np.hypot(*pair.T))[0, 1]) < 5 / math.sqrt(n / 2)


@pytest.mark.parametrize("top", [1, 2, 6, 7, 1000])
def test_whole_numbers_are_uniform(top: int) -> None:
    x = Stream(key=KEY).below(top, 100 * 1000, HERE)
    counts = np.bincount(x, minlength=top)
    assert counts.size == top
    assert top == 1 or stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "sparse_signs", "count_sketch"])
def test_appended_tokens_leave_the_draws_unchanged(kind: str) -> None:
    """Also where a pair of normal numbers belongs to two tokens."""
    x = np.eye(8)
    for k in (1, 3, 4):
        short, long = (
            getattr(sketching, kind)(n, k, np.random.default_rng(4)).apply(x[:n, :n])
            for n in (5, 8)
        )
        np.testing.assert_array_equal(short, long[:, :5])


def test_a_key_is_drawn() -> None:
    rng = np.random.default_rng(0)
    one, two = stream(rng), stream(rng)
    assert one != two
    assert one == stream(np.random.default_rng(0))


def test_numbers_are_made_once_for_each_place() -> None:
    calls = []
    once = Once(lambda like, dtype: calls.append(dtype) or like.astype(dtype))
    assert once(HERE, "float32") is once(np.ones(3), "float32")
    once(HERE, "float64")
    assert calls == ["float32", "float64"]
