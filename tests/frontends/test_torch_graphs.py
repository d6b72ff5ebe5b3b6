"""The operators in torch's compiler, in exported programs, and under its function transforms."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import approxattn as aa  # noqa: E402 - after the skip
from approxattn.torch import record_calls, scaled_dot_product_attention  # noqa: E402
from approxattn.torch.ops import Request, attend, attend_gradient  # noqa: E402

POLYNOMIAL = aa.Polynomial(degree=4)


def leaves(*shapes, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes]


def masks():
    keys = torch.tensor([[1, 1, 1, 0, 1], [1, 1, 0, 1, 1]], dtype=torch.bool)
    return {
        "none": {},
        "causal": {"causal": True},
        "keys": {"key_mask": keys[:, None]},
        "mask": {"attn_mask": keys[:, None, None]},
    }


@pytest.mark.parametrize("kind", masks())
@pytest.mark.parametrize("heads", [2, 4])
def test_opcheck(kind: str, heads: int) -> None:
    q, k, v = leaves((2, heads, 5, 3), (2, 2, 5, 3), (2, 2, 5, 4))
    rest = vars(Request(method="Polynomial(degree=2)", **masks()[kind])).values()
    torch.library.opcheck(attend, (q, k, v, *rest))
    with torch.no_grad():
        out, way = attend(q, k, v, *rest)
    plain = [x.detach() for x in (q, k, v, out)]
    torch.library.opcheck(attend_gradient, (*plain, way, *rest))


@pytest.mark.parametrize(
    "method", [POLYNOMIAL, "Performer(features=8)", aa.Clustered(heavy=2)], ids=str
)
def test_compiles_whole_with_masks_and_gradients(method) -> None:
    q, k, v = leaves(*[(2, 2, 5, 3)] * 3)
    keys = masks()["mask"]["attn_mask"]

    def loss(q, k, v, mask):
        out = scaled_dot_product_attention(2 * q, k, v, mask, method=method, seed=1)
        return out.square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    with record_calls() as calls:
        found = compiled(q, k, v, keys)
    assert len(calls) == 1
    wanted = loss(q, k, v, keys)
    assert torch.equal(found, wanted)
    ours, theirs = (torch.autograd.grad(x, (q, k, v)) for x in (found, wanted))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_another_method_is_compiled_anew() -> None:
    def attend_by(q, method):
        return scaled_dot_product_attention(q, q, q, method=method)

    compiled = torch.compile(attend_by, fullgraph=True, backend="aot_eager")
    q = leaves((2, 5, 3))[0].detach()
    for method in (
        aa.Exact(),
        aa.Polynomial(degree=2),
        POLYNOMIAL,
        "Exact()",
        "Nystrom(landmarks=2)",
    ):
        assert torch.equal(compiled(q, method), attend_by(q, method))


def test_exports_whole() -> None:
    class Model(torch.nn.Module):  # type: ignore[name-defined]
        def forward(self, q, k, v):
            return scaled_dot_product_attention(q, k, v, is_causal=True, method=POLYNOMIAL)

    q, k, v = (x.detach() for x in leaves(*[(2, 5, 3)] * 3))
    program = torch.export.export(Model(), (q, k, v))
    targets = [str(node.target) for node in program.graph.nodes]
    assert "approxattn.attend.default" in targets
    assert torch.equal(program.module()(q, k, v), Model()(q, k, v))


def _attend(q, k, v, mask=None):
    return scaled_dot_product_attention(q, k, v, mask, method=POLYNOMIAL)


def test_vmap_is_a_loop() -> None:
    # the items differ in size, so a method that looked at the whole batch would show
    q, k, v = leaves((3, 2, 5, 3), (2, 5, 3, 3), (2, 5, 4))
    q, k, v = (
        q.detach() * torch.tensor([1.0, 2.0, 4.0])[:, None, None, None],
        k.detach(),
        v.detach(),
    )
    found = torch.vmap(_attend, (0, -1, None))(q, k, v)
    for i in range(3):
        assert torch.equal(found[i], _attend(q[i], k[..., i], v))
    keys = torch.rand(3, 2, 1, 5) < 0.9
    keys[..., 0] = True
    found = torch.vmap(_attend, (0, None, None, 0))(q, k[..., 0], v, keys)
    assert torch.equal(found[1], _attend(q[1], k[..., 0], v, keys[1]))


def test_gradients_for_each_item() -> None:
    q, k, v = (x.detach() for x in leaves((3, 2, 5, 3), (2, 5, 3), (2, 5, 4)))

    def loss(q, k, v):
        return _attend(q, k, v).square().sum()

    each = torch.vmap(torch.func.grad(loss, argnums=(0, 1, 2)), (0, None, None))(q, k, v)
    for i in range(3):
        inputs = [x.clone().requires_grad_() for x in (q[i], k, v)]
        wanted = torch.autograd.grad(loss(*inputs), inputs)
        for a, b in zip(each, wanted, strict=True):
            assert torch.equal(a[i], b)


def test_many_cotangents_at_once() -> None:
    q, k, v = leaves(*[(2, 5, 3)] * 3)
    out = _attend(q, k, v)
    douts = torch.randn(3, *out.shape, dtype=out.dtype)
    found = torch.autograd.grad(out, (q, k, v), douts, is_grads_batched=True, retain_graph=True)
    for i in range(3):
        wanted = torch.autograd.grad(out, (q, k, v), douts[i], retain_graph=True)
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a[i], b)


@pytest.mark.filterwarnings("ignore:.*jit")  # torch's own, at the first dual level
def test_forward_mode_is_refused() -> None:
    import torch.autograd.forward_ad as forward_ad

    q = leaves((2, 5, 3))[0].detach()
    with forward_ad.dual_level(), pytest.raises(ValueError, match="forward mode"):
        _attend(forward_ad.make_dual(q, q), q, q)


def test_checkpoints_repeat_the_draws() -> None:
    from torch.utils.checkpoint import checkpoint

    def loss(q):
        seed = torch.default_generator
        method = "Performer(features=4)"
        return scaled_dot_product_attention(q, q, q, method=method, seed=seed).square().sum()

    grads = []
    for run in (loss, lambda q: checkpoint(loss, q, use_reentrant=False)):
        q = leaves((2, 5, 3))[0]
        torch.manual_seed(0)
        grads += torch.autograd.grad(run(q), q)
    assert torch.equal(*grads)


def test_sizes_may_change() -> None:
    def attend_itself(q):
        return scaled_dot_product_attention(q, q, q, is_causal=True, method="Exact()")

    compiled = torch.compile(attend_itself, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (5, 7, 9):
        q = leaves((2, n, 3))[0].detach()
        assert torch.equal(compiled(q), attend_itself(q))


def test_shapes_are_known_without_numbers() -> None:
    q, k, v = (x.to("meta") for x in leaves((2, 4, 5, 3), (2, 2, 7, 3), (2, 2, 7, 6)))
    out = scaled_dot_product_attention(q, k, v, method=POLYNOMIAL, enable_gqa=True)
    assert out.shape == (2, 4, 5, 6)
    assert out.device.type == "meta"


def test_inference_mode_reads_masks_too() -> None:
    q, k, v = (x.detach() for x in leaves(*[(2, 5, 3)] * 3))
    with torch.inference_mode():
        mask = torch.ones(5, 5, dtype=torch.bool).tril()
        found = scaled_dot_product_attention(q, k, v, mask, method="Exact()")
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(found, wanted)
