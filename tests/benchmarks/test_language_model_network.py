"""The NumPy language model of the benchmark: forward pass against a slow one, and its attention
swapped head by head.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from real_model import judged, plans
from real_model.heads import Capture, judge
from real_model.network import forward, losses, random_network
from real_model.rivals import Rival, Window
from real_model.swaps import Public, Swap, exact_multiply_adds, selected_multiply_adds
from real_model.texts import Text

import approxattn as aa

NETWORK = random_network(np.random.default_rng(5))
TOKENS = np.random.default_rng(6).integers(0, 97, 64)
EXACT = Public(aa.Exact())


def slow_losses(network, tokens):
    """Return the losses, token by token and pair by pair, in float64 and without matrices of all
    tokens; the rotation is a product of complex numbers.
    """
    w = {name: array.astype(np.float64) for name, array in network.weights.items()}
    keys: dict = {}
    values: dict = {}
    out = []
    for position, token in enumerate(tokens):
        x = w["token_embd.weight"][token].copy()
        for layer in range(network.layers):
            h = normed(network, x, w[f"blk.{layer}.attn_norm.weight"])
            q, k, v = (
                (w[f"blk.{layer}.attn_{s}.weight"] @ h).reshape(-1, network.width) for s in "qkv"
            )
            keys.setdefault(layer, []).append([turned(network, y, position) for y in k])
            values.setdefault(layer, []).append(v)
            heads = []
            for head, query in enumerate(q):
                own = head // network.group
                turned_query = turned(network, query, position)
                scores = [
                    (turned_query @ np.conj(past[own])).real / math.sqrt(network.width)
                    for past in keys[layer]
                ]
                weights = np.exp(np.array(scores) - max(scores))
                heads.append(
                    sum(p * past[own] for p, past in zip(weights, values[layer], strict=True))
                    / weights.sum()
                )
            x += w[f"blk.{layer}.attn_output.weight"] @ np.concatenate(heads)
            h = normed(network, x, w[f"blk.{layer}.ffn_norm.weight"])
            gate = w[f"blk.{layer}.ffn_gate.weight"] @ h
            inner = gate / (1 + np.exp(-gate)) * (w[f"blk.{layer}.ffn_up.weight"] @ h)
            x += w[f"blk.{layer}.ffn_down.weight"] @ inner
        logits = w["token_embd.weight"] @ normed(network, x, w["output_norm.weight"])
        if position + 1 < len(tokens):
            top = logits.max()
            wanted = logits[tokens[position + 1]]
            out.append(top + math.log(np.exp(logits - top).sum()) - wanted)
    return np.array(out)


def normed(network, x, weight):
    return x / math.sqrt((x @ x) / len(x) + network.epsilon) * weight


def turned(network, x, position):
    """Return the pairs of x as complex numbers, turned by their angles."""
    pairs = x[0::2] + 1j * x[1::2]
    return pairs * np.exp(1j * position * network.base ** (-2 * np.arange(len(pairs)) / len(x)))


def run(choose):
    return losses(NETWORK, forward(NETWORK, TOKENS, Swap(NETWORK, choose)), TOKENS)


def test_forward_pass_equals_a_slow_one() -> None:
    found, wanted = run(lambda *_: EXACT), slow_losses(NETWORK, TOKENS)
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert wanted.std() > 0.1  # not all alike: the network does something


def test_one_head_can_be_swapped() -> None:
    """A head that reads everything changes nothing; a window in one head changes what follows."""
    exact, window = run(lambda *_: EXACT), Window(back=3, sinks=0)
    same = run(lambda layer, head: Rival() if (layer, head) == (0, 4) else EXACT)
    np.testing.assert_allclose(same, exact, atol=1e-4)
    other = run(lambda layer, head: window if (layer, head) == (0, 4) else EXACT)
    np.testing.assert_allclose(other[:4], exact[:4], atol=1e-4)  # all of the keys are in the window
    assert np.abs(other - exact)[4:].max() > 1e-3


def test_heads_that_share_a_method_are_one_call() -> None:
    calls = []

    class Counting(Public):
        def __call__(self, q, k, v, rng):
            calls.append(len(q))
            return super().__call__(q, k, v, rng)

    shared, alone = Counting(aa.Exact()), Counting(aa.Exact())
    run(lambda _, head: alone if head == 0 else shared)
    assert calls == [1, 2, 3] * NETWORK.layers


def test_costs_are_counted() -> None:
    swap = Swap(NETWORK, lambda layer, _: Window(back=7, sinks=0) if layer else EXACT)
    forward(NETWORK, TOKENS, swap)
    n, width = len(TOKENS), NETWORK.width
    pairs = sum(min(i, 7) + 1 for i in range(n))
    wanted = NETWORK.heads * (exact_multiply_adds(n, width) + pairs * 2 * width)
    assert swap.multiply_adds == pytest.approx(wanted)
    assert swap.timed
    forward(NETWORK, TOKENS, counted := Swap(NETWORK, lambda *_: Rival()))
    assert not counted.timed  # a rule for counting has no time
    assert swap.torch_seconds is None


@pytest.mark.parametrize("n", [1, 50, 150])
@pytest.mark.parametrize("numbers", [(0, 10, 0), (9, 10, 0), (9, 10, 3), (0, 0, 3), (99, 5, 99)])
def test_pairs_of_selected_keys(n: int, numbers: tuple[int, int, int]) -> None:
    """Counted key by key: windows, chosen keys, means, and looks at far keys."""
    heavy, recent, summaries = numbers
    method = aa.SelectedSummaries(heavy=heavy, recent=recent, summaries=summaries, block=20)
    pairs = looks = 0
    for i in range(n):
        first = i // 20 * 20
        far = [j for j in range(first) if j < first - recent]
        met = min(len(far), method.sinks + heavy)
        means = min(len(far) - met, summaries)
        pairs += i + 1 - len(far) + met + means
        if i == first:
            looks += len(far) * ((heavy > 0 or means > 0) + 2 * (means > 0))
    assert selected_multiply_adds(method, n, 8) == 8 * (2 * pairs + looks)


def test_judged_on_the_whole_model() -> None:
    text = Text(TOKENS, seconds=(40, 52), length=6, distances=(20, 30))
    record, exact = judged.run(NETWORK, text, lambda *_: EXACT, None, beside=0)
    assert record["change"] == 0
    assert record["multiply-adds over exact"] == pytest.approx(1)
    assert record["second copies"] == pytest.approx(np.r_[exact[40:45], exact[52:57]].mean())
    assert record["first copies"] == pytest.approx(np.r_[exact[20:25], exact[22:27]].mean())
    window, found = judged.run(NETWORK, text, lambda *_: Window(back=3), exact, beside=0)
    assert window["change"] == pytest.approx((found - exact).mean())
    changes = [(found - exact)[a : a + 5].mean() for a in (40, 52)]
    assert window["largest change of a passage"] == pytest.approx(max(changes))
    assert window["multiply-adds over exact"] < 0.3


def test_captured_heads_and_their_errors(tmp_path: Path) -> None:
    capture = Capture(Swap(NETWORK, lambda *_: EXACT))
    forward(NETWORK, TOKENS, capture)
    capture.save(tmp_path / "heads.npz")
    kept = np.load(tmp_path / "heads.npz")
    assert kept["q"].shape == (2, 6, 64, 8)
    assert kept["k"].shape == kept["v"].shape == (2, 2, 64, 8)
    for head in capture.heads:
        wanted = kept["k"][head.layer, head.head // 3]
        np.testing.assert_array_equal(head.k.astype(np.float16), wanted)
    exact, window = judge(EXACT, capture.heads), judge(Window(back=2), capture.heads)
    assert max(exact["errors"]) < 1e-5
    assert exact["cost"] == pytest.approx(1)
    assert exact["seconds a head"] > 0
    assert min(window["errors"]) > 1e-3
    assert window["seconds a head"] > 0
    assert judge(Rival(), capture.heads)["seconds a head"] is None


def captured(seed: int) -> Capture:
    capture = Capture(Swap(NETWORK, lambda *_: EXACT))
    forward(NETWORK, np.random.default_rng(seed).integers(0, 97, 64), capture)
    return capture


def test_captured_heads_are_kept(tmp_path: Path) -> None:
    capture = captured(1)
    assert not Capture.there(tmp_path)
    capture.keep(tmp_path)
    assert Capture.there(tmp_path)
    again = Capture.kept(tmp_path, Swap(NETWORK, lambda *_: EXACT))
    assert len(again.calls) == len(again.heads) == 2
    for own, other in zip(capture.heads, again.heads, strict=True):
        assert (own.layer, own.head) == (other.layer, other.head)
        assert other.q.dtype == np.float32
        np.testing.assert_array_equal(other.v, own.v.astype(np.float16))


def test_plans_of_the_model(tmp_path: Path) -> None:
    """Made on two texts, run on a third, and judged there."""
    candidates = [
        aa.SelectedSummaries(heavy=heavy, recent=8, summaries=4, sinks=1, block=8)
        for heavy in (0, 8)
    ]
    texts = {"one": captured(1), "two": captured(2)}
    wanted = plans.Wanted(("one", "two"), 0.5, 1.0)
    other, tight = plans.Wanted(("two",), 0.5, 1.0), plans.Wanted(("two", "one"), 0.5, 0.01)

    def make(*asked: plans.Wanted, layers: int = 2) -> None:
        go = iter([True] * layers + [False] * 2)
        plans.made(asked, texts.__getitem__, candidates, 60.0, tmp_path, lambda: next(go))

    make(wanted, layers=1)
    assert list(wanted.kept(tmp_path)) == [0]  # cut after a layer
    make(wanted, other, tight)
    assert list(other.kept(tmp_path)) == [0, 1]
    found = wanted.kept(tmp_path)
    assert list(found) == [0, 1]
    assert {layer.shape for layer in found.values()} == {(6,)}
    assert found[0].lengths == (64, 64)
    groups = plans.settings(found)
    assert sorted(h for heads in groups.values() for h in heads) == list(range(12))
    choose = plans.chooser(found)
    name = found[1].heads[2].name
    shared = [choose(1, head) for head in range(6) if found[1].heads[head].name == name]
    assert all(x is shared[0] for x in shared)
    text = Text(np.random.default_rng(3).integers(0, 97, 64))
    record, _ = judged.run(NETWORK, text, choose, run(lambda *_: EXACT), beside=0)
    point = plans.point([found], found, 64, NETWORK.width)
    assert point["exact"] == found.left_exact
    assert point["cost"] == pytest.approx(record["multiply-adds over exact"])
    above = [layer.transfer.above for layer in found.values()]
    assert point["above"] == pytest.approx(np.mean(above))
    small = tight.kept(tmp_path)
    assert small.left_exact == 12
    assert plans.point([small], small, 64, NETWORK.width)["above"] == 0
