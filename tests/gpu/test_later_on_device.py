"""What a certificate is computed from stays on the device until somebody reads it: the same as at
once, whatever became of the caller's arrays.
"""

from __future__ import annotations

import dataclasses
import pickle
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cupy import TRAFFIC

import approxattn as aa
from approxattn.methods.random_features.sums import CAUSAL_CHUNK

N, D = 50, 8
METHODS = {
    "nystrom": aa.Nystrom(landmarks=8),
    "nystrom, truncated": aa.Nystrom(landmarks=8, rcond=0.1, centred=False),
    "performer": aa.Performer(features=16),
    "linformer": aa.Linformer(rank=8),
    "count-sketch": aa.Linformer(rank=8, sketch="count-sketch"),
    "yoso": aa.Yoso(bits=4, hashes=8),
    "yoso, one group": aa.Yoso(bits=3, hashes=1),
    "yoso, normalised": aa.Yoso(bits=4, hashes=64, normalize=True),
    "yoso, bernstein": aa.Yoso(bits=3, hashes=40, bound="bernstein"),
    "yoso, sampled": aa.Yoso(bits=3, hashes=4, gradient="sampled", normalize=True),
    "yoso-e": aa.YosoExpectation(bits=4),
    "yoso-e, normalised": aa.YosoExpectation(bits=4, normalize=True, gradient="surrogate"),
    "performer, hyperbolic": aa.Performer(features=6, kind="hyperbolic", orthogonal=False),
}


def called(module: ModuleType, method: Any, gradient: bool, far: float) -> tuple[Any, list[Any]]:
    """Return a result and all arrays that the caller can reach, the values `far` from 0."""
    given = np.random.default_rng(3).uniform(-0.5, 0.5, (4, 2, N, D)).astype("f4")
    given[2] += far
    q, k, v, g = arrays = [module.asarray(x) for x in given]
    rng = np.random.default_rng(1) if method.randomised else None
    if gradient:
        found: Any = aa.attention_vjp(q, k, v, g, method, rng=rng)
        return found, [*arrays, found.dq, found.dk, found.dv]
    found = aa.attention(q, k, v, method, rng=rng)
    return found, [*arrays, found.value]


def assert_same(found: Any, wanted: Any) -> None:
    for f in dataclasses.fields(wanted):
        a, b = getattr(found, f.name), getattr(wanted, f.name)
        if isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=f.name)
        else:
            assert repr(a) == repr(b), f.name


@pytest.mark.parametrize("far", [0.0, 9.0])
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("name", METHODS)
def test_read_late_it_says_what_it_said_at_once(
    cupy: ModuleType, name: str, gradient: bool, far: float
) -> None:
    method = METHODS[name]
    at_once = called(cupy, method, gradient, far)[0].certificate
    at_once = pickle.loads(pickle.dumps(at_once))  # noqa: S301 - our own
    result, arrays = called(cupy, method, gradient, far)
    for x in arrays:
        x[...] = 77
    later = pickle.loads(pickle.dumps(result.certificate))  # noqa: S301 - our own
    assert_same(later, at_once)
    assert_same(result.certificate, later)


@pytest.mark.parametrize("landmarks", [1, 7, N, 2 * N])
def test_blocks_of_unequal_length(cupy: ModuleType, landmarks: int) -> None:
    """Tokens that no mask hides are numbered on the device: only sizes of blocks cross."""
    method = aa.Nystrom(landmarks=landmarks)
    for gradient in (False, True):
        TRAFFIC.clear()
        own, *_ = called(cupy, method, gradient, 0.0)
        inputs = 4 * 2 * N * D * 4
        assert TRAFFIC.up - inputs <= 8 * 8 * min(landmarks, N) + 1024
        host, *_ = called(np, method, gradient, 0.0)
        for part in ("dq", "dk", "dv") if gradient else ("value",):
            np.testing.assert_allclose(
                getattr(own, part).get(), getattr(host, part), atol=2e-5, rtol=2e-4
            )


@pytest.mark.parametrize("large", [False, True], ids=["whole chunks", "halved chunks"])
def test_causal_features_wait_for_all_chunks_at_once(cupy: ModuleType, large: bool) -> None:
    """However many chunks there are, the host looks once at whether any must be halved; where
    some must, the numbers are those of the host, which halves them at once.
    """
    n = 3 * CAUSAL_CHUNK
    q, k, v, g = np.random.default_rng(2).uniform(-1, 1, (4, n, 4))
    if large:  # features of long keys are far below those of the keys that follow
        k[: CAUSAL_CHUNK // 2] *= 200
    method, syncs = aa.Performer(features=4), []
    for arrays in ((q, k, v), (q, k, v, g)):
        call = aa.attention if len(arrays) == 3 else aa.attention_vjp
        host: Any = call(*arrays, method, causal=True, rng=np.random.default_rng(0))
        given = [cupy.asarray(x) for x in arrays]
        TRAFFIC.clear()
        own: Any = call(*given, method, causal=True, rng=np.random.default_rng(0))
        syncs.append(TRAFFIC.syncs.total())
        for part in ("value",) if len(arrays) == 3 else ("dq", "dk", "dv"):
            found, wanted = getattr(own, part).get(), getattr(host, part)
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11 * abs(wanted).max())
    halved = [a > b for a, b in zip(syncs, (3, 5), strict=True)]
    assert halved == [large, large], syncs
