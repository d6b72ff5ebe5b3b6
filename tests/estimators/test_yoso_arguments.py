"""What YOSO refuses, when it is built and when it is called, and what it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import approxattn as aa


@pytest.mark.parametrize("method", [aa.Yoso, aa.YosoExpectation])
def test_bad_arguments(method: Any) -> None:
    with pytest.raises(ValueError, match=r"bits\(=0\) must lie in \[1, "):
        method(bits=0)
    with pytest.raises(TypeError, match=r"bits\(=2.0\) must be an int"):
        method(bits=2.0)
    with pytest.raises(TypeError, match=r"bits\(=True\) must be an int"):
        method(bits=True)
    with pytest.raises(TypeError, match=r"normalize\(=1\) must be True or False"):
        method(normalize=1)
    with pytest.raises(
        ValueError, match=r"zero_rows\(='skip'\) must be one of 'raise', 'orthogonal'"
    ):
        method(zero_rows="skip")


def test_bad_sampling_arguments() -> None:
    with pytest.raises(ValueError, match=r"hashes\(=0\)"):
        aa.Yoso(hashes=0)
    with pytest.raises(
        ValueError, match=r"hashing\(='spherical'\) must be one of 'gaussian', 'hadamard'"
    ):
        aa.Yoso(hashing="spherical")
    with pytest.raises(ValueError, match=r"bound\(='bernstein'\) needs independent hashes"):
        aa.Yoso(hashing="hadamard", bound="bernstein")
    with pytest.raises(
        ValueError, match=r"gradient\(='plug-in'\) must be one of 'exact', 'surrogate', 'sampled'"
    ):
        aa.Yoso(gradient="plug-in")
    with pytest.raises(
        ValueError, match=r"gradient\(='sampled'\) must be one of 'exact', 'surrogate'"
    ):
        aa.YosoExpectation(gradient="sampled")
    for confidence in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"confidence\(=.*must lie strictly between 0 and"):
            aa.Yoso(confidence=confidence)


def test_calls_without_a_meaning_are_refused() -> None:
    q = np.ones((3, 2))
    with pytest.raises(ValueError, match="sum over all keys"):
        aa.attention(q, q, q, aa.Yoso(), causal=True, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="directions only"):
        aa.attention(q, q, q, aa.YosoExpectation(), scale=1.0)
    with pytest.raises(TypeError, match="pass rng="):
        aa.attention(q, q, q, aa.Yoso())
