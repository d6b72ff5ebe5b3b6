"""BERT-LSH against loops over pairs, and its certificate against ball arithmetic."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from cases import Case, run
from colliding import NEVER, OPTIONS, ROWS, bert, met_pairs, problem, read_keys
from methods import Row
from namespaces import LIBRARIES, Library
from oracle import enclose, row_errors

import approxattn as aa
from approxattn._arrays import HostArray


def written_out(method: aa.BertLSH, case: Case, seed: int = 5) -> HostArray:
    """Return the output of one head by loops over rows and pairs."""
    met, keys, n = met_pairs(method, case, seed), read_keys(case), len(case.k)
    beta = case.options.get("scale") or 1 / math.sqrt(case.q.shape[1])
    mask = case.options.get("key_mask", np.ones(n, bool))
    logits = np.full(met.shape, method.fill)
    for i, j in np.ndindex(*met.shape):
        a, b = (min(i, j), max(i, j)) if method.fidelity == "paper-code" else (i, j)
        if met[a, b]:
            logits[i, j] = beta * (case.q[a] @ keys[b])
    out = np.zeros((len(case.q), case.v.shape[1]))
    for i in range(len(case.q)):
        seen = [j for j in range(n) if mask[j] and (j <= i or not case.options.get("causal"))]
        row = logits[i, seen]
        row = np.zeros(len(seen)) if np.isneginf(row).all() else row
        weights = np.exp(row - row.max())
        out[i] = weights @ case.v[seen] / weights.sum()
    return out


def suited(row: Row, options: str) -> Case:
    if row.needs_square and "causal" in options:
        return problem("random").where(
            options={name: x for name, x in OPTIONS[options].items() if name != "causal"}
        )
    return problem("random").where(options=OPTIONS[options])


# --- the output -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_output_is_the_softmax_written_out(library: Library, name: str, options: str) -> None:
    row = ROWS[name]
    case = suited(row, options)
    out = run(row, case, library)
    assert library.owns(out.array)
    assert isinstance(row.method, aa.BertLSH)
    np.testing.assert_allclose(out.value, written_out(row.method, case), rtol=0, atol=1e-13)


def test_everything_collides_is_exact_attention() -> None:
    case = problem("random")
    out = run(ROWS["everything collides"], case)
    exact = run(Row(name="exact", method=aa.Exact(), slack=1e3), case)
    np.testing.assert_allclose(out.value, exact.value, rtol=0, atol=1e-14)
    assert out.certificate.bound < 1e-12, "no score is changed, so only rounding is left"
    assert out.certificate.facts["collided fraction"] == 1


def test_paper_code_reads_the_upper_triangle_only() -> None:
    """Later queries and earlier keys are never compared: q_1 and k_0 may be anything in a problem
    of two tokens.
    """
    case = problem("random", n=2)
    changed = case.where(q=case.q + np.array([[0.0] * 4, [9.0, 0, 0, 0]]))
    method = bert(fidelity="paper-code", table_size=1)
    weights = run(method, case.where(v=np.eye(2))).value
    logits = np.log(weights)
    upper = case.q @ case.k.T / 2  # 1/sqrt(d) = 1/2
    assert logits[0, 1] - logits[0, 0] == pytest.approx(upper[0, 1] - upper[0, 0])
    assert logits[1, 1] - logits[1, 0] == pytest.approx(upper[1, 1] - upper[0, 1]), (
        "the score of (0, 1) stands at (1, 0)"
    )
    np.testing.assert_array_equal(run(method, changed.where(v=np.eye(2))).value[0], weights[0])


def test_fill_matters() -> None:
    """One key collides by direction, one is opposite: filled with the logit 0 it keeps its weight,
    with -inf it has none.
    """
    case = Case(
        name="opposite",
        q=np.array([[2.0]]),
        k=np.array([[3.0], [-3.0]]),
        v=np.array([[1.0], [0.0]]),
    )
    half = run(bert(bits=20, table_size=2**30), case)
    none = run(bert(bits=20, table_size=2**30, fill=NEVER), case)
    assert half.value[0, 0] == pytest.approx(1 / (1 + math.exp(-6)))
    assert none.value[0, 0] == 1
    assert none.certificate.bound == pytest.approx(1 / (1 + math.exp(12)), rel=1e-6), (
        "the dropped mass itself"
    )
    assert half.certificate.bound == pytest.approx(math.tanh(6 / 4), rel=1e-9), (
        "one score of -6 became 0"
    )


def test_row_without_collision_attends_uniformly() -> None:
    case = Case(
        name="none",
        q=np.array([[1.0]]),
        k=np.array([[-1.0], [-2.0], [-4.0]]),
        v=np.array([[3.0], [6.0], [99.0]]),
    )
    out = run(
        bert(bits=20, table_size=2**30, fill=NEVER),
        case.where(options={"key_mask": np.array([True, True, False])}),
    )
    assert out.value[0, 0] == pytest.approx(4.5)
    assert out.certificate.facts["rows without collision"] == 1
    assert out.certificate.facts["collided fraction"] == 0


@pytest.mark.parametrize("name", ROWS)
def test_blocks_of_queries_join(name: str) -> None:
    """1100^2 pairs are taken in two blocks: their rows must be those of one block."""
    rng, row = np.random.default_rng(1), ROWS[name]
    q, k, v = rng.standard_normal((3, 1100, 2))
    case = Case(name="long", q=q, k=k, v=v)
    if not row.needs_square:
        case = case.where(options={"causal": True})
    out = run(row, case)
    assert isinstance(row.method, aa.BertLSH)
    some = np.array([0, 1, 952, 953, 954, 1099])
    method, met = row.method, met_pairs(row.method, case.where(q=q[some]))
    for i, here in zip(some, met, strict=True):
        logits = np.where(here, q[i] @ k.T / math.sqrt(2), method.fill)
        if row.needs_square:
            across = met_pairs(method, case.where(k=k[i : i + 1]))[:, 0]
            logits = np.where(
                np.arange(1100) < i, np.where(across, q @ k[i] / math.sqrt(2), 0.0), logits
            )
        seen = np.arange(1100) <= (1099 if row.needs_square else i)
        logits = np.zeros(1100) if np.isneginf(logits[seen]).all() else logits
        weights = np.where(seen, np.exp(logits), 0.0)
        np.testing.assert_allclose(out.value[i], weights @ v / weights.sum(), rtol=0, atol=1e-12)


# --- the certificate ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", ["plain", "causal mask"])
@pytest.mark.parametrize("kind", ["random", "clustered", "adversarial"])
@pytest.mark.parametrize("name", ROWS)
def test_error_is_within_the_certificate(name: str, kind: str, options: str, dtype: str) -> None:
    row = ROWS[name]
    case = suited(row, options)
    data = problem(kind).astype(dtype)
    case = case.where(q=data.q, k=data.k, v=data.v)
    enclosure = enclose(row, case)
    for seed in range(4):
        out = run(row, case, seed=seed)
        assert out.certificate.kind == "surely"
        assert out.certificate.target == "softmax attention"
        assert np.isfinite(out.certificate.rows).all()
        assert (row_errors(out.value, enclosure) <= out.certificate.rows).all()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", ROWS)
def test_few_tokens(name: str, n: int) -> None:
    case, row = problem("random", n=n, d=1), ROWS[name]
    out = run(row, case)
    assert (row_errors(out.value, enclose(row, case)) <= out.certificate.rows).all()
    if n == 1:
        np.testing.assert_allclose(out.value, case.v, rtol=1e-15)


def test_bound_is_sharp_for_small_changes() -> None:
    """Keys +a and -a, the second dropped to the logit 0: the log odds go from 2 a to a, and
    tanh(a/4) is the error as a goes to 0.
    """
    case = Case(
        name="sharp",
        q=np.array([[1.0]]),
        k=np.array([[1e-2], [-1e-2]]),
        v=np.array([[1.0], [0.0]]),
        options={"scale": 1.0},
    )
    out = run(bert(bits=30, table_size=2**40), case)
    error = abs(out.value[0, 0] - 1 / (1 + math.exp(-2e-2)))
    assert 0.999 * out.certificate.bound < error <= out.certificate.bound


def test_huge_scores_of_unseen_keys_do_no_harm() -> None:
    q = np.array([[30.0], [30.0]])
    case = Case(
        name="huge",
        q=q,
        k=np.array([[1.0], [1e3]]),
        v=np.eye(2),
        options={"causal": True, "scale": 1.0},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in (bert(), bert(fill=NEVER), bert(table_size=1)):
            out = run(row, case)
            assert out.value[0].tolist() == [1, 0]
            assert np.isfinite(out.certificate.rows).all()


def test_facts_agree_with_the_closed_form() -> None:
    """The share of pairs that collide, over many draws, against 1 - (1 - p')^L of every pair."""
    case, row = problem("random", n=12), bert(bits=3, tables=2, table_size=8)
    outs = [run(row, case, seed=seed) for seed in range(300)]
    shares = np.array([out.certificate.facts["collided fraction"] for out in outs])
    expected = outs[0].certificate.facts["expected collided fraction"]
    assert abs(shares.mean() - expected) < 4 * shares.std() / math.sqrt(len(shares))
    assert shares[0] == pytest.approx(
        met_pairs(aa.BertLSH(bits=3, tables=2, table_size=8), case, 0).mean()
    )
    assert (
        "expected collided fraction"
        not in run(bert(), problem("random", n=1100, d=2)).certificate.facts
    )
    paper = bert(fidelity="paper-code", bits=3, tables=2, table_size=8)
    outs = [run(paper, case, seed=seed) for seed in range(300)]
    shares = np.array([out.certificate.facts["collided fraction"] for out in outs])
    expected = outs[0].certificate.facts["expected collided fraction"]
    assert abs(shares.mean() - expected) < 4 * shares.std() / math.sqrt(len(shares))


@pytest.mark.parametrize("name", ["default", "few survive", "paper code"])
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_batch_items_share_the_draws_and_nothing_else(library: Library, name: str) -> None:
    row, items = ROWS[name], [problem("random", n=8), problem("adversarial", n=8)]
    batch = Case(name="batch", **{x: np.stack([getattr(item, x) for item in items]) for x in "qkv"})
    out = run(row, batch, library)
    for index, item in enumerate(items):
        alone = run(row, item)
        size = np.abs(item.v).max()
        np.testing.assert_allclose(out.value[index], alone.value, rtol=0, atol=1e-12 * size)
        np.testing.assert_allclose(
            out.certificate.rows[index], alone.certificate.rows, rtol=1e-9, atol=1e-12 * size
        )


# --- bad arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["bits", "tables", "table_size"])
def test_bad_integers(argument: str) -> None:
    with pytest.raises(ValueError, match=rf"{argument}\(=0\) must lie in \[1, "):
        aa.BertLSH(**{argument: 0})
    with pytest.raises(TypeError, match=rf"{argument}\(=1.5\) must be an int"):
        aa.BertLSH(**{argument: 1.5})


def test_bad_choices() -> None:
    with pytest.raises(
        ValueError, match=r"fidelity\(='exact'\) must be one of 'corrected', 'paper-code'"
    ):
        aa.BertLSH(fidelity="exact")
    for fill in (1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"fill\(=.*must be 0.0 or -inf"):
            aa.BertLSH(fill=fill)
    with pytest.raises(ValueError, match=r"leaves the logit 0; use fill=0.0"):
        aa.BertLSH(fidelity="paper-code", fill=NEVER)


def test_calls_that_the_paper_code_cannot_make() -> None:
    q = np.ones((3, 2))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="causal=True with fidelity='paper-code'"):
        aa.attention(q, q, q, aa.BertLSH(fidelity="paper-code"), causal=True, rng=rng)
    with pytest.raises(ValueError, match="n_q = 2, n_k = 3 with fidelity='paper-code'"):
        aa.attention(q[:2], q, q, aa.BertLSH(fidelity="paper-code"), rng=rng)
    with pytest.raises(TypeError, match="pass rng="):
        aa.attention(q, q, q, aa.BertLSH())
