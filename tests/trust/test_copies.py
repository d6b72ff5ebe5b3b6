"""Every public object can be pickled, copied and turned into a dict, and comes back with equal
bits: results travel between processes.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from methods import TABLE

import approxattn as aa
import approxattn.transformer as tr
from approxattn.certificate import Certificate, GradientCertificate
from approxattn.certificate.read_only import ReadOnlyDict

WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle {protocol}": lambda x, p=protocol: pickle.loads(pickle.dumps(x, p))  # noqa: S301
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def same(a: Any, b: Any) -> None:
    """Hold two objects against each other, down to the bits of their arrays."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, Mapping):
        assert list(a) == list(b)
        for name in a:
            same(a[name], b[name])
    elif isinstance(a, tuple | list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif inspect.ismethod(a):
        assert a.__func__ is b.__func__
        same(a.__self__, b.__self__)
    elif isinstance(a, float):
        assert np.float64(a).tobytes() == np.float64(b).tobytes()
    elif type(a).__eq__ is object.__eq__ and hasattr(a, "__dict__"):
        same(vars(a), vars(b))
    else:
        assert a == b


def _model() -> tr.Transformer:
    rng = np.random.default_rng(2)
    w = lambda *shape: rng.normal(size=shape) / 2
    attention = tr.SelfAttention(wq=w(2, 4, 3), wk=w(2, 4, 3), wv=w(2, 4, 2))
    block = tr.Residual(maps=(tr.LayerNorm(gain=w(4), shift=w(4)), tr.Mlp(w1=w(4, 5), w2=w(5, 4))))
    layer = tr.Layer(attention=attention, residual=True, then=(tr.Linear(w=w(4, 4)), block))
    return tr.Transformer(first=(tr.Embedding(tokens=w(7, 4)),), layers=(layer,))


def examples() -> dict[str, Any]:
    """One object at least of every public class, made through the public calls."""
    rng = np.random.default_rng(1)
    q, k, v, g = rng.uniform(-1, 1, (4, 2, 20, 3))
    out = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3))
    refused = aa.attention(q, k, v, aa.Linformer(rank=3), rng=np.random.default_rng(0))
    grads = aa.attention_vjp(q, k, v, g, aa.Polynomial(degree=4))
    audit = aa.audit(out.value, q, k, v, rows=6, rng=np.random.default_rng(0))
    state = aa.Polynomial(degree=4, basis="taylor").state(k, v)
    model, x = _model(), np.array([[1, 2, 0, 6]])
    run = tr.forward(model, x, aa.Exact())
    pulled = tr.gradient(model, x, np.ones(run.value.shape), aa.Exact())
    choice = tr.choose_degrees(model, x, np.ones(run.value.shape), tolerance=0.5)
    found = [out, refused, out.certificate, grads, grads.certificate, audit, state, model, run]
    found += [aa.diagnose(q, k, v, compare_methods=True), pulled, pulled.certificate, choice]
    found += [aa.Exact().cost(20, 20, 3, 3)]
    found += [run.layers[0], model.layers[0], model.layers[0].attention, *model.first]
    residual: Any = model.layers[0].then[1]
    found += [*model.layers[0].then, *residual.maps]
    found += [tr.Custom(value=np.tanh, gradient=_pull, lipschitz=1.0)]
    found += [*_states(k, v), *_plans(q, k, v), aa.ALiBi.of_heads(2)]
    named = {type(x).__name__: x for x in found}
    return {**named, **{f"method {row.name}": row.method for row in TABLE}}


def _states(k: Any, v: Any) -> list[Any]:
    def rng() -> np.random.Generator:
        return np.random.default_rng(0)

    return [
        aa.Polynomial(degree=4, basis="taylor").open_state(k, v),
        aa.Performer(features=4).state(k, v, rng=rng()),
        aa.Yoso(hashes=2, bits=2).state(k, v, rng=rng()),
        aa.Linformer(rank=4, sketch="mean-pool").state(k, v),
    ]


def _plans(q: Any, k: Any, v: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    plan = aa.plan(q, k, v, relative_error=0.5, rng=rng, order="cost")
    out = plan.attention(q, k, v, audit=4, rng=rng)
    errors = [aa.PlanFileError("no plan"), aa.PlanWarning("another method")]
    return [plan, plan.heads[0], out, out.checks[0], aa.Auto(relative_error=0.5), *errors]


def _pull(x: Any, dout: Any) -> Any:
    return dout / np.cosh(x) ** 2


EXAMPLES = examples()


@pytest.mark.parametrize("module", [aa, tr], ids=["approxattn", "transformer"])
def test_every_public_class_has_an_example(module: ModuleType) -> None:
    public = {name for name in module.__all__ if inspect.isclass(getattr(module, name))}
    there = {type(x).__name__ for x in EXAMPLES.values()}
    assert public <= there, f"add to `examples`: {sorted(public - there)}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_equal_bits_come_back(name: str, way: str) -> None:
    original = EXAMPLES[name]
    made = WAYS[way](original)
    same(made, original)
    assert str(made) == str(original)


@pytest.mark.parametrize("name", EXAMPLES)
def test_as_a_dict(name: str) -> None:
    original = EXAMPLES[name]
    if dataclasses.is_dataclass(original):
        assert set(dataclasses.asdict(original)) == {
            field.name for field in dataclasses.fields(original)
        }


def test_facts_are_read_only_also_after_a_round_trip() -> None:
    facts = EXAMPLES["Certificate"].facts
    for mapping in (facts, pickle.loads(pickle.dumps(facts)), copy.deepcopy(facts)):  # noqa: S301
        assert isinstance(mapping, ReadOnlyDict)
        attempts: list[Callable[[], Any]] = [
            lambda m=mapping: m.update(x=1),
            lambda m=mapping: m.__setitem__("x", 1),
            lambda m=mapping: m.pop("degree"),
            lambda m=mapping: m.setdefault("x", 1),
            lambda m=mapping: m.__ior__({"x": 1}),
            mapping.clear,
            mapping.popitem,
        ]
        for attempt in attempts:
            with pytest.raises(TypeError, match="read-only"):
                attempt()
    with pytest.raises(ValueError, match="read-only"):
        EXAMPLES["Certificate"].rows[0, 0] = 1.0


def test_a_certificate_freezes_nothing_of_its_maker() -> None:
    rows, allowed, facts = np.ones(3), np.ones(()), {"degree": 4}
    certificate = Certificate(rows=rows, target="t", theorem="k", facts=facts, promised=allowed)
    rows[0], facts["degree"] = 9.0, 5
    allowed[...] = 9.0
    assert certificate.rows.tolist() == [1.0, 1.0, 1.0]
    assert certificate.promised is not None
    assert float(certificate.promised) == 1.0
    assert certificate.facts["degree"] == 4
    bounds = [np.ones(2) for _ in range(3)]
    made = dict(zip(("dq", "dk", "dv"), bounds, strict=True))
    gradient = GradientCertificate(target="t", theorem="k", **made)
    for name, own in made.items():
        own[0] = 9.0
        assert getattr(gradient, name).tolist() == [1.0, 1.0]
