"""Results print in a line, become JSON, and refuse to be taken for arrays."""

from __future__ import annotations

import copy
import json
import math
import operator
import pickle
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn.certificate.plain import plain
from approxattn.transformer import Layer, SelfAttention, Transformer, forward, gradient

RNG = np.random.default_rng(5)
Q, K, V, DOUT = RNG.uniform(-1, 1, (4, 2, 40, 6))


def _network() -> Transformer:
    wq, wk, wv = np.random.default_rng(1).uniform(-0.3, 0.3, (3, 1, 6, 6))
    attention = SelfAttention(wq=wq, wk=wk, wv=wv)
    return Transformer(layers=(Layer(attention=attention, residual=True),))


def records() -> dict[str, Any]:
    method = aa.Polynomial(degree=4)
    out = aa.attention(Q, K, V, method)
    grads = aa.attention_vjp(Q, K, V, DOUT, method)
    audit = aa.audit(out.value, Q, K, V, rows=30, rng=np.random.default_rng(0))
    through = forward(_network(), Q, method, certify=True)
    back = gradient(_network(), Q, DOUT, method, certify=True)
    return {
        "approximation": out,
        "certificate": out.certificate,
        "no bound": aa.attention(Q, K, V, aa.Linformer(rank=3), rng=np.random.default_rng(0)),
        "gradients": grads,
        "gradient certificate": grads.certificate,
        "audit": audit,
        "complete audit": aa.audit(out.value, Q, K, V, rows=80, rng=np.random.default_rng(0)),
        "baseline": audit.baselines["mean of v"],
        "regime": aa.diagnose(Q, K, V),
        "compared": aa.diagnose(Q, K, V, compare_methods=True),
        "output": through,
        "layer errors": through.layers[0],
        "model gradients": back,
        "model certificate": back.certificate,
    }


RECORDS = records()


@pytest.mark.parametrize("name", RECORDS)
def test_repr_is_one_short_line(name: str) -> None:
    record = RECORDS[name]
    shown = repr(record)
    assert shown.startswith(f"<{type(record).__name__}: ")
    assert "\n" not in shown
    assert len(shown) <= 250


def test_repr_holds_the_bound_and_the_theorem() -> None:
    out = RECORDS["approximation"]
    assert f"within {out.certificate.bound.max():.3g}" in repr(out)
    assert f"[{out.certificate.theorem}]" in repr(out)
    assert "no bound for any row" in repr(RECORDS["no bound"])
    assert repr(RECORDS["certificate"]).startswith("<Certificate: 2 x 40 rows, ")


def test_str_of_a_regime_is_its_table() -> None:
    assert len(str(RECORDS["regime"]).splitlines()) > 10


def test_some_rows_without_a_bound_are_counted() -> None:
    rows = np.array([1.0, np.inf, 2.0])
    some = aa.Certificate(rows=rows, target="t", theorem="k", unmet=("why",))
    assert repr(some) == "<Certificate: 3 rows, no bound for 1 of 3 rows [k]>"
    assert "<td" in some._repr_html_()


@pytest.mark.parametrize("name", RECORDS)
def test_html_is_well_formed_small_and_loads_nothing(name: str) -> None:
    page = RECORDS[name]._repr_html_()
    tree = ET.fromstring(page.replace("&nbsp;", " "))  # noqa: S314 - our own text
    cells = [cell.text for cell in tree.iter("td")]
    assert cells
    assert all(cells), "a value is empty"
    assert len(page) < 8000
    assert not {"src=", "href=", "<script", "url("} & set(page.split())
    assert "background:#" not in page, "a fixed colour is unreadable on dark pages or on light ones"


def test_html_escapes() -> None:
    odd = aa.Certificate(rows=np.ones(1), target="<b>", theorem="k", facts={"<i>": "&"})
    assert "<b>" not in odd._repr_html_()
    assert "&lt;i&gt;" in odd._repr_html_()


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("arrays", [False, True])
def test_to_dict_is_json_and_reads_back(name: str, arrays: bool) -> None:
    record = RECORDS[name]
    found = record.to_dict(arrays=arrays)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["record"] == type(record).__name__


def test_to_dict_keeps_every_number() -> None:
    out = RECORDS["approximation"]
    found = out.to_dict(arrays=True)
    np.testing.assert_array_equal(np.array(found["value"], dtype=float), out.value)
    rows = np.array(found["certificate"]["rows"], dtype=float)
    np.testing.assert_array_equal(rows, out.certificate.rows)
    assert found["certificate"]["bound"] == out.certificate.bound.tolist()
    assert found["certificate"]["kind"] == "surely"
    assert out.to_dict()["value"] == {"shape": [2, 40, 6], "dtype": "float64"}


def test_infinities_survive_as_strings() -> None:
    none = RECORDS["no bound"].certificate
    rows = np.array(none.to_dict()["rows"], dtype=float)
    np.testing.assert_array_equal(rows, none.rows)
    assert plain(math.nan, arrays=True) == "nan"
    assert plain(np.float32(-np.inf), arrays=True) == "-inf"
    assert plain({0.5: (1, True, None)}, arrays=True) == {"0.5": [1, True, None]}


def test_trials_name_their_methods() -> None:
    trials = RECORDS["compared"].to_dict()["trials"]
    assert {"Clustered", "Nystrom"} <= {t["method"]["record"] for t in trials if t["method"]}
    assert "nan" in {t["cost"] for t in trials}, "an oracle has no cost"


MISUSES = {
    "asarray": np.asarray,
    "ufunc": np.exp,
    "array + it": lambda out: np.ones(3) + out,
    "it + 1": lambda out: out + 1,
    "1 - it": lambda out: 1 - out,
    "matmul": lambda out: out @ np.ones(3),
    "negative": operator.neg,
    "unpack": lambda out: [*out],
    "index": lambda out: out[0],
    "length": len,
    "float": float,
}


@pytest.mark.parametrize("misuse", MISUSES)
@pytest.mark.parametrize("name", ["approximation", "gradients", "output", "model gradients"])
def test_not_an_array(name: str, misuse: str) -> None:
    with pytest.raises(TypeError, match=r"record, not an array: use (out\.value|grads\.d[qx])"):
        MISUSES[misuse](RECORDS[name])


def test_what_arrays_have_is_hinted_at() -> None:
    out = RECORDS["approximation"]
    with pytest.raises(AttributeError, match=r"out\.value\.shape"):
        _ = out.shape
    assert not hasattr(out, "__array_namespace__")
    assert bool(out)
    with pytest.raises(TypeError, match=r"q\.value"):
        aa.attention(out, K, V, aa.Exact())


@pytest.mark.parametrize("name", RECORDS)
def test_pickles_and_copies(name: str) -> None:
    record = RECORDS[name]
    read = pickle.loads(pickle.dumps(record))  # noqa: S301 - our own bytes
    for twin in (read, copy.copy(record), copy.deepcopy(record)):
        assert repr(twin) == repr(record)
        assert twin.to_dict(arrays=True) == record.to_dict(arrays=True)
