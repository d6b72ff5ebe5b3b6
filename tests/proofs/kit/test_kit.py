"""The kit lets correct attention pass, and each planted bug is found by the check meant for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from attentions import AT_BLOCKS, always_raises
from synthetic_theorems import PROVES, entry

import approxattn as aa
from proofs_check import Count, Identity, Symbolic, catalogue
from proofs_check.kit import check_attention, check_claim
from proofs_check.statements.experiment import Assumption


def weights(q: Any, k: Any, causal: bool = False, key_mask: Any = None) -> Any:
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype)
    if causal:
        s = np.where(np.tril(np.ones(s.shape[-2:], bool)), s, -np.inf)
    if key_mask is not None:
        s = np.where(key_mask, s, -np.inf)
    e = np.exp(s - s.max(axis=-1, keepdims=True, initial=-np.finfo(s.dtype).max))
    return e / e.sum(axis=-1, keepdims=True)


def right(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
    return weights(q, k, causal, key_mask) @ v


MASKS = [
    "query offset",
    "window agrees with softmax",
    "keys beyond the window",
    "packed sequences",
]
"""Laws that `right` has no form for."""


def gradient(q: Any, k: Any, v: Any, dout: Any) -> tuple[Any, Any, Any]:
    grads = aa.attention_vjp(q, k, v, dout, aa.Exact())
    return grads.dq, grads.dk, grads.dv


FEW = (1, 2, 5)
"""Numbers of tokens, where more show nothing more."""


def test_correct_attention_passes_every_check() -> None:
    found = check_attention(right, gradient=gradient)
    assert found.ok, found
    assert [finding.name for finding in found.findings if not finding.held] == MASKS
    assert "36 of 36 checks held" in str(found)


def test_our_methods_pass() -> None:
    def exact(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
        return aa.attention(q, k, v, aa.Exact(), causal=causal, key_mask=key_mask).value

    def even(q: Any, k: Any, v: Any) -> Any:
        return aa.attention(q, k, v, aa.Polynomial(degree=8, basis="taylor")).value

    assert check_attention(exact).ok
    found = check_attention(
        even, exact=False, by_design={"queries are independent": "their mean is taken out of all"}
    )
    assert found.ok, found


def test_another_array_library_and_leading_axes() -> None:
    def strict(q: Any, k: Any, v: Any) -> Any:
        xp = array_api_strict
        s = xp.matmul(q, xp.matrix_transpose(k)) / q.shape[-1] ** 0.5
        e = xp.exp(s - xp.max(s, axis=-1, keepdims=True))
        return xp.matmul(e / xp.sum(e, axis=-1, keepdims=True), v)

    found = check_attention(strict, leading=2, put=array_api_strict.asarray)
    assert found.ok, found
    assert found["batch items are independent"].held


# --- planted bugs ---------------------------------------------------------------------------------


def no_scale(q: Any, k: Any, v: Any) -> Any:
    return right(2 * q, k, v)


def column_sums(q: Any, k: Any, v: Any) -> Any:
    w = weights(q, k)
    return (w / w.sum(axis=-2, keepdims=True)) @ v


def odd_degree(q: Any, k: Any, v: Any) -> Any:
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    w = 1 + s + s**2 / 2 + s**3 / 6
    return w @ v / w.sum(axis=-1, keepdims=True)


def no_shift(q: Any, k: Any, v: Any) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype))
        return e @ v / e.sum(axis=-1, keepdims=True)


def batch_wide_scale(q: Any, k: Any, v: Any) -> Any:
    w = weights(q, k)
    return w @ v * (1 + 0.1 * (np.abs(w).max() - np.abs(w).max(axis=(-2, -1), keepdims=True)))


def ignores_mask(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    del key_mask
    return right(q, k, v)


def causal_off_by_one(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    w = weights(q, k)
    return (
        (
            w
            * np.tril(np.ones(w.shape[-2:]), 1)
            / (w * np.tril(np.ones(w.shape[-2:]), 1)).sum(-1, keepdims=True)
        )
        @ v
        if causal
        else w @ v
    )


def writes_inputs(q: Any, k: Any, v: Any) -> Any:
    q /= np.sqrt(q.shape[-1])
    return right(q * np.sqrt(q.shape[-1]), k, v)


def drops_the_tail(q: Any, k: Any, v: Any) -> Any:
    n = k.shape[-2] - k.shape[-2] % 2 if k.shape[-2] > 1 else 1
    return right(q, k[..., :n, :], v[..., :n, :])


def single_precision(q: Any, k: Any, v: Any) -> Any:
    return right(*(x.astype(np.float32) for x in (q, k, v))).astype(q.dtype)


def always_double(q: Any, k: Any, v: Any) -> Any:
    return right(*(x.astype(np.float64) for x in (q, k, v)))


def hides_nan(q: Any, k: Any, v: Any) -> Any:
    return np.nan_to_num(right(q, k, v))


def random_noise(q: Any, k: Any, v: Any) -> Any:
    return right(q, k, v) * (1 + 1e-16 * np.random.default_rng().integers(0, 2**20))


def queries_interact(q: Any, k: Any, v: Any) -> Any:
    return right(q - q.mean(axis=-2, keepdims=True), k, v) if q.shape[-2] else right(q, k, v)


def accepts_anything(q: Any, k: Any, v: Any) -> Any:
    n = min(k.shape[-2], v.shape[-2])
    return right(q, k[..., :n, :], v[..., :n, :])


def no_output_for_no_queries(q: Any, k: Any, v: Any) -> Any:
    if q.shape[-2] == 0:
        msg = "empty"
        raise ValueError(msg)
    return right(q, k, v)


def positional(q: Any, k: Any, v: Any) -> Any:
    return right(q, k, v * (1 + 0.01 * np.arange(v.shape[-2])[:, None]))


# The bugs of published packages, in miniature: see examples/audit_peers.py and docs/kit.md.


def pseudo_inverse(a: Any, *, of_the_whole_batch: bool) -> Any:
    axes = None if of_the_whole_batch else (-2, -1)
    rows = np.abs(a).sum(axis=-1, keepdims=True).max(axis=axes, keepdims=True)
    columns = np.abs(a).sum(axis=-2, keepdims=True).max(axis=axes, keepdims=True)
    z, one = np.swapaxes(a, -1, -2) / (rows * columns), np.eye(a.shape[-1])
    for _ in range(6):
        az = a @ z
        z = 0.25 * z @ (13 * one - az @ (15 * one - az @ (7 * one - az)))
    return z


def nystrom(q: Any, k: Any, v: Any, *, of_the_whole_batch: bool) -> Any:
    """Two landmarks, the first token and the last; as in nystrom-attention, one scale for the start
    of the pseudo-inverse of all heads.
    """
    few_q, few_k = (x[..., [0, -1], :] for x in (q, k))
    core = pseudo_inverse(weights(few_q, few_k), of_the_whole_batch=of_the_whole_batch)
    return weights(q, few_k) @ core @ (weights(few_q, k) @ v)


def nystrom_of_the_batch(q: Any, k: Any, v: Any) -> Any:
    return nystrom(q, k, v, of_the_whole_batch=True)


def pads_without_a_mask(q: Any, k: Any, v: Any) -> Any:
    """Zeros up to an even number of tokens, which then take part."""
    ends = [(0, 0)] * (k.ndim - 2) + [(0, k.shape[-2] % 2), (0, 0)]
    return right(q, np.pad(k, ends), np.pad(v, ends))


def masks_values_only(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    """The masked keys stay in the sum of the weights."""
    return right(q, k, v if key_mask is None else np.where(key_mask[..., None], v, 0))


def sees_later_keys(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    """Exponentials over the largest of all scores, later ones included, plus a constant."""
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    w = np.exp(s - s.max(initial=-99.0)) + 1e-4
    w = w * np.tril(np.ones(w.shape[-2:])) if causal else w
    return w @ v / w.sum(axis=-1, keepdims=True)


def masks_by_a_large_number(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    """Every key masked leaves all scores equal."""
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    s = s if key_mask is None else np.where(key_mask, s, np.finfo(s.dtype).min)
    w = np.exp(s - s.max(axis=-1, keepdims=True, initial=np.finfo(s.dtype).min))
    return w @ v / w.sum(axis=-1, keepdims=True)


BUGS: dict[Callable[..., Any], str] = {
    no_scale: "accuracy in float64",
    column_sums: "weights sum to one",
    odd_degree: "output among the values",
    no_shift: "accuracy in float32",
    batch_wide_scale: "batch items are independent",
    ignores_mask: "masked keys",
    causal_off_by_one: "causal",
    writes_inputs: "inputs are not written to",
    drops_the_tail: "accuracy in float64",
    single_precision: "accuracy in float64",
    always_double: "dtype is kept",
    hides_nan: "NaN does not disappear",
    random_noise: "repeatable",
    queries_interact: "queries are independent",
    accepts_anything: "shapes are checked",
    no_output_for_no_queries: "no queries",
    positional: "order of keys",
    nystrom_of_the_batch: "batch items are independent",
    pads_without_a_mask: "weights sum to one",
    masks_values_only: "contents of masked keys",
    sees_later_keys: "later keys",
    masks_by_a_large_number: "all keys masked",
}


@pytest.mark.parametrize(
    ("function", "check"), BUGS.items(), ids=lambda x: getattr(x, "__name__", x)
)
def test_a_planted_bug_is_found(function: Callable[..., Any], check: str) -> None:
    found = check_attention(function)
    assert not found.ok
    assert found[check].held is False, found


@pytest.mark.parametrize("fault", AT_BLOCKS, ids=lambda f: f.__name__)
def test_a_bug_at_the_end_of_a_block_is_found(fault: Callable[..., Any]) -> None:
    found = check_attention(fault(64))
    failed = {f.name for f in found.findings if f.held is False}
    assert set(AT_BLOCKS[fault]) - {"agrees with softmax"} <= failed
    assert check_attention(fault(64), sizes=(1, 2, 3, 5, 10, 16)).ok, "the lengths find it"


def test_a_function_that_always_raises_holds_nothing() -> None:
    found = check_attention(always_raises, gradient=always_raises)
    assert not any(f.held for f in found.findings)


def test_some_lengths_only() -> None:
    def blocks(q: Any, k: Any, v: Any) -> Any:
        if q.shape[-2] % 32 or k.shape[-2] % 32:
            msg = "multiples of 32"
            raise ValueError(msg)
        return right(q, k, v)

    assert check_attention(blocks, multiple_of=32, sizes=(32, 96)).ok
    assert not check_attention(blocks, sizes=(32, 33)).ok


def test_the_miniatures_without_their_bug_pass_the_check() -> None:
    def item_by_item(q: Any, k: Any, v: Any) -> Any:
        return nystrom(q, k, v, of_the_whole_batch=False)

    assert check_attention(item_by_item, exact=False)["batch items are independent"].held
    found = check_attention(right)
    assert all(found[name].held for name in set(BUGS.values()))


def test_a_failure_by_design_is_told_and_does_not_count() -> None:
    found = check_attention(odd_degree, exact=False, sizes=FEW)
    assert found["output among the values"].held is False
    reasons = {f.name: "odd degree" for f in found.findings if f.held is False}
    excused = check_attention(
        odd_degree,
        exact=False,
        by_design={**reasons, "order of keys": "it never fails"},
        sizes=FEW,
    )
    assert excused.ok
    assert excused["order of keys"].held is True
    assert excused["output among the values"].detail.startswith("by design, odd degree: ")
    with pytest.raises(ValueError, match="no such law"):
        check_attention(right, by_design={"no such law": "nothing"})
    refused = check_attention(
        no_output_for_no_queries, by_design={"no queries": "it raises"}, sizes=FEW
    )
    assert refused["no queries"].held is False, "an exception is never by design"


def test_functions_of_one_sequence_of_tokens() -> None:
    def square(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
        if q.shape[-2] != k.shape[-2]:
            msg = f"{q.shape[-2]} queries, {k.shape[-2]} keys"
            raise ValueError(msg)
        return right(q, k, v, causal=causal, key_mask=key_mask)

    found = check_attention(square, square=True)
    assert found.ok, found
    without = ["shapes are checked", "no queries", *MASKS]
    assert [f.name for f in found.findings if f.held is None] == without
    assert not check_attention(square).ok


def test_arguments_of_the_kit() -> None:
    with pytest.raises(ValueError, match="neither 'numpy' nor 'torch'"):
        check_attention(right, framework="jax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs framework='torch'"):
        check_attention(right, gradient="autograd")


def test_a_wrong_gradient_is_found_and_null_baselines_are_not_beaten_by_nothing() -> None:
    def no_kappa(q: Any, k: Any, v: Any, dout: Any) -> tuple[Any, Any, Any]:
        f = weights(q, k)
        p = f * (dout @ v.T) / np.sqrt(q.shape[1])
        return p @ k, p.T @ q, f.T @ dout

    found = check_attention(right, gradient=no_kappa)
    assert [found[f"gradient {name}"].held for name in ("dq", "dk", "dv")] == [False, False, True]

    def zero(q: Any, k: Any, v: Any) -> Any:
        del k
        return np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)

    def mean(q: Any, k: Any, v: Any) -> Any:
        del k
        return np.broadcast_to(v.mean(axis=-2, keepdims=True), (*q.shape[:-1], v.shape[-1]))

    for nothing in (zero, mean):
        assert check_attention(nothing, exact=False)["accuracy in float64"].held is False


# --- claims ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sata.odd-degree", "as23.score-bound", "lss24.causal-cost"])
def test_entries_of_the_catalogue_pass(key: str) -> None:
    found = check_claim(catalogue.theorem(key))
    assert found.ok, found


def _always(_: Any) -> bool:
    return True


def _never(_: Any) -> bool:
    return False


def _one_number() -> Any:
    from hypothesis import strategies as st

    return st.just({"x": 1})


def test_what_is_wrong_with_a_claim_is_found() -> None:
    good = entry("a.good", PROVES)
    assert check_claim(good).ok
    idle = replace(good, mutant=PROVES)
    assert check_claim(idle)["the mutant is refuted"].held is False
    surprised = replace(good, expected="refuted")
    assert check_claim(surprised)["verdict is the expected one"].held is False
    other = Symbolic(
        identities=lambda: [Identity(1, 2)],
        grade="exact-rational",
        covers="statement",
        scope="one number",
    )
    torn = replace(good, experiments=(PROVES, replace(other)))
    assert check_claim(torn)["experiments agree"].held is False
    crashing = replace(
        good,
        experiments=(
            Count(
                measured=lambda n: n // 0,
                formula=lambda n: n,
                sizes=(1,),
                covers="statement",
                scope="no size",
            ),
        ),
    )
    assert check_claim(crashing)["experiment 0 (Count)"].held is False
    drifted = replace(
        good, assumptions=(Assumption(text="never", predicate=_never, generator=_one_number),)
    )
    assert check_claim(drifted)["instances satisfy: never"].held is False
    honest = replace(
        good, assumptions=(Assumption(text="always", predicate=_always, generator=_one_number),)
    )
    assert check_claim(honest).ok


# --- the command line -----------------------------------------------------------------------------


def audit(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proofs_check", "audit", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def attention(q, k, v):\n    return v.mean(axis=-2, keepdims=True) + 0 * q[..., :1]\n"
    )
    done = audit("mine:attention", "--approximate", "--sizes", "1,2,5", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "mean of V" in done.stdout
    done = audit("mine:attention", "--multiple-of", "32", "--sizes", "32,64", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "n = 64" in done.stdout
    assert "n = 1)" not in done.stdout
    for wrong, complaint in (
        (("mine:nothing",), "no attribute 'nothing'"),
        (("mine",), "PACKAGE:FUNCTION"),
        (("no_such_module:f",), "No module named"),
        (("mine:attention", "--time-limit", "0"), "time_limit"),
        (("mine:attention", "--scale", "nan"), "scale"),
        (("mine:attention", "--autograd"), "--torch"),
        (("mine:attention", "--sizes", "1,x"), "whole numbers"),
        (("mine:attention", "--sizes", "33", "--multiple-of", "32"), "multiples"),
    ):
        done = audit(*wrong, folder=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert complaint in line
