"""Masks that cannot be meant are refused, by name and with a way out; what no query sees has no
influence.
"""

from __future__ import annotations

import numpy as np
import pytest

import approxattn as aa

Q, K, V = (np.random.default_rng(0).normal(size=(2, n, 4)) for n in (3, 5, 5))
SEGMENTS = np.array([0, 0, 1, 1, 2])

REFUSED = [
    ({"causal": True}, ValueError, ["query_offset=0", "query_offset=2", "upper left"]),
    ({"window": (1, 0)}, ValueError, ["a window with 3 queries and 5 keys", "query_offset=2"]),
    ({"query_offset": 2}, ValueError, ["query_offset(=2)", "causal=True", "leave it None"]),
    ({"causal": True, "query_offset": 1.5}, TypeError, ["query_offset(=1.5)", "int"]),
    ({"window": 4, "query_offset": 2}, TypeError, ["window(=4)", "pair", "(255, 0)"]),
    ({"window": (-1, 0), "query_offset": 2}, ValueError, ["window[0](=-1)", "at least 0"]),
    ({"window": (1, 0, 2)}, TypeError, ["window(=(1, 0, 2))", "pair"]),
    ({"causal": True, "query_offset": -1}, ValueError, ["query [0]", "empty_rows='zero'"]),
    ({"segments": SEGMENTS}, ValueError, ["segments of the queries", "(5,)", "(2, 3)", "pair"]),
    ({"segments": (SEGMENTS[:3] * 1.0, SEGMENTS)}, TypeError, ["float64", "integers"]),
    ({"segments": (SEGMENTS, SEGMENTS, SEGMENTS)}, TypeError, ["a pair", "3 items"]),
    ({"segments": "abc"}, TypeError, ["segments of the queries", "str"]),
    (
        {"segments": (np.array([0, 1, 0]), SEGMENTS)},
        ValueError,
        ["0 stands in two places", "sort them"],
    ),
    ({"segments": (np.array([0, 1, 7]), SEGMENTS)}, ValueError, ["query [2]", "empty_rows"]),
    ({"empty_rows": "keep"}, ValueError, ["empty_rows(='keep')", "'raise', 'zero'"]),
    ({"bias": np.zeros((3, 4))}, ValueError, ["bias has shape (3, 4)", "(2, 3, 5)"]),
    (
        {"bias": np.zeros((3, 5), int)},
        TypeError,
        ["bias has dtype int64", "where(seen, 0.0"],
    ),
    ({"bias": np.full((3, 5), np.nan)}, ValueError, ["bias reaches inf", "-inf where"]),
    ({"bias": np.full((3, 5), 1e308)}, ValueError, ["bias reaches 1e+308", "at most 1.12e+307"]),
    ({"bias": np.full((3, 5), -np.inf)}, ValueError, ["query [0]", "empty_rows='zero'"]),
    ({"causal": 1, "query_offset": 0}, TypeError, ["causal(=1)", "True or False"]),
]


@pytest.mark.parametrize(("options", "error", "words"), REFUSED)
def test_refusals_name_argument_value_rule_and_remedy(options, error, words) -> None:
    calls = [
        lambda: aa.attention(Q, K, V, aa.Exact(), **options),
        lambda: aa.attention_vjp(Q, K, V, np.ones((2, 3, 4)), aa.Exact(), **options),
        lambda: aa.audit(
            np.ones((2, 3, 4)), Q, K, V, rows=2, rng=np.random.default_rng(0), **options
        ),
        lambda: aa.diagnose(Q, K, V, **options),
    ]
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        for word in words:
            assert word in str(caught.value)


def test_segments_that_fit_two_axes_are_refused() -> None:
    q = np.zeros((2, 2, 3, 4))
    ids = np.zeros((2, 3), int)
    with pytest.raises(ValueError, match=r"segments\[:, None, :\] for the first"):
        aa.attention(q, q, q, aa.Exact(), segments=ids)
    assert aa.attention(q, q, q, aa.Exact(), segments=ids[:, None, :]).value.shape == q.shape


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize(
    "options",
    [
        {"causal": True, "query_offset": 1},
        {"window": (1, 0), "query_offset": 1},
        {"segments": (np.array([0, 0, 1]), np.array([0, 0, 1, 1, 5]))},
    ],
)
@pytest.mark.parametrize("method", [aa.Exact(), aa.Polynomial(degree=4)], ids=["exact", "poly"])
def test_what_no_query_sees_has_no_influence(method, options, rubbish) -> None:
    if "window" in options and not isinstance(method, aa.Exact):
        pytest.skip("it takes no window")
    k, v = K.copy(), V.copy()
    k[:, 4], v[:, 4] = rubbish, rubbish
    g = np.ones((2, 3, 4))
    out, same = (aa.attention(Q, a, b, method, **options) for a, b in ((k, v), (K, V)))
    np.testing.assert_array_equal(out.value, same.value)
    np.testing.assert_array_equal(out.certificate.rows, same.certificate.rows)
    found, want = (aa.attention_vjp(Q, a, b, g, method, **options) for a, b in ((k, v), (K, V)))
    for name in ("dq", "dk", "dv"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
        np.testing.assert_array_equal(
            getattr(found.certificate, name), getattr(want.certificate, name)
        )


def test_inputs_are_not_written_to_and_may_be_read_only() -> None:
    arrays = [x.copy() for x in (Q, K, V)]
    for x in arrays:
        x.setflags(write=False)
    mask = np.array([[False, True, True, False, True]] * 2)
    mask.setflags(write=False)
    aa.attention(*arrays, aa.Exact(), causal=True, query_offset=0, key_mask=mask, empty_rows="zero")
    aa.attention_vjp(
        *arrays,
        np.ones((2, 3, 4)),
        aa.Exact(),
        causal=True,
        query_offset=0,
        key_mask=mask,
        empty_rows="zero",
    )
