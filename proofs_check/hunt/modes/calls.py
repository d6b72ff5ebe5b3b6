"""The modes that call `attention`, `attention_vjp`, `audit` and `tensor_attention`: arguments in,
claims out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.certificate import SOFTMAX_GRADIENT
from proofs_check.hunt.claims import Claim, Seen, row_claim
from proofs_check.hunt.methods import Row
from proofs_check.hunt.oracles import enclosures
from proofs_check.hunt.oracles import softmax as oracle
from proofs_check.hunt.oracles.angles import yoso
from proofs_check.hunt.oracles.softmax import Exact
from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Library:
    """One array library: arrays in, arrays out."""

    name: str
    put: Callable[[Host], Any]
    get: Callable[[Any], Host]


def library(name: str) -> Library:
    """Return NumPy or torch.

    Raises
    ------
    ModuleNotFoundError
        When torch is asked for and not installed.
    """
    if name == "numpy":
        return Library(name=name, put=np.array, get=np.asarray)
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        msg = f"library(={name!r}) cannot be imported: install torch, or hunt with numpy"
        raise ModuleNotFoundError(msg) from error
    return Library(
        name=name,
        put=lambda a: torch.from_numpy(np.array(a)),
        get=lambda t: np.asarray(t.detach().cpu().numpy()),
    )


def promised(dtype: str) -> str:
    """Return the dtype that the package computes in."""
    return "float32" if dtype == "float16" else dtype


def _options(posed: Posed, put: Callable[[Host], Any], names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"scale": posed.scale, "causal": posed.causal}
    if posed.mask is not None:
        found["key_mask"] = put(posed.mask)
    return {name: x for name, x in found.items() if name in names} | posed.order


def call_options(row: Row, posed: Posed, lib: Library) -> dict[str, Any]:
    """Return scale, masks and the source of randomness as `attention` takes them."""
    options = _options(posed, lib.put, ("scale", "causal", "key_mask"))
    if row.method.randomised:
        options["rng"] = np.random.default_rng(posed.seed)
    return options


def target(row: Row, posed: Posed) -> Exact | None:
    """Return what the certificate of an output speaks about."""
    a, visible = posed.cleaned(), posed.visible()
    if row.target == "none":
        return None
    if row.target == "yoso":
        return yoso(a["q"], a["k"], a["v"], bits=row.bits, normalize=row.normalize, visible=visible)
    return oracle.attention(a["q"], a["k"], a["v"], scale=posed.scale, visible=visible)


def forward(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `attention` once."""
    out = aa.attention(
        arrays["q"], arrays["k"], arrays["v"], row.method, **call_options(row, posed, lib)
    )
    value = lib.get(out.value)
    shape = np.broadcast_shapes(*(posed.arrays[n].shape[:-2] for n in ("q", "k", "v")))
    exact = target(row, posed)

    def enclose(item: int) -> Any:
        one = flat(posed) if posed.outer else posed
        shown = value.reshape(-1, *value.shape[-2:])[item]
        return enclosures.ends(shown, enclosures.attention_rows(row, one, item))

    claim = row_claim(
        "out",
        value.reshape(*shape, *value.shape[-2:]),
        out.certificate.rows,
        exact,
        failure=out.certificate.failure,
        enclose=None if exact is None else enclose,
    )
    return Seen(claims=[claim], dtypes=[("out", str(value.dtype), str(posed.arrays["q"].dtype))])


def flat(posed: Posed) -> Posed:
    """Return problems with broadcast leading axes as a list of single ones."""
    a = posed.arrays
    shape = np.broadcast_shapes(*(a[n].shape[:-2] for n in ("q", "k", "v")))
    arrays = {
        n: np.broadcast_to(x, (*shape, *x.shape[-2:])).reshape(-1, *x.shape[-2:])
        for n, x in a.items()
    }
    return Posed(**{**posed.__dict__, "arrays": arrays, "outer": False})


def backward(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `attention_vjp` once."""
    grads = aa.attention_vjp(
        arrays["q"],
        arrays["k"],
        arrays["v"],
        arrays["g"],
        row.method,
        **call_options(row, posed, lib),
    )
    known = grads.certificate.target == SOFTMAX_GRADIENT
    a, exact = posed.cleaned(), None
    if known:
        exact = oracle.gradient(
            a["q"], a["k"], a["v"], a["g"], scale=posed.scale, visible=posed.visible()
        )
    seen = Seen()
    for part, name in (("dq", "q"), ("dk", "k"), ("dv", "v")):
        value, given = lib.get(getattr(grads, part)), posed.arrays[name]
        seen.dtypes.append((part, str(value.dtype), str(given.dtype)))
        truth = None if exact is None else _as_given(getattr(exact, part), given)
        seen.claims.append(_gradient_claim(part, value, grads.certificate, truth, posed))
    return seen


def _as_given(exact: Exact, given: Host) -> Exact:
    """Sum over the leading axes along which an input was repeated."""
    full = exact.value.shape[:-2]
    own = (1,) * (len(full) - (given.ndim - 2)) + given.shape[:-2]
    axes = tuple(i for i, (a, b) in enumerate(zip(full, own, strict=True)) if a != b)
    return oracle.summed(exact, axes, given.shape)


def _gradient_claim(
    part: str, value: Host, certificate: Any, exact: Exact | None, posed: Posed
) -> Claim:
    def enclose(item: int) -> Any:
        return enclosures.ends(value[item], enclosures.gradient_rows(posed, item, part))

    decided = exact is not None and not posed.outer
    return row_claim(
        part,
        value,
        getattr(certificate, part),
        exact,
        failure=certificate.failure,
        enclose=enclose if decided else None,
    )


def audited(_: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Audit an output that is wrong in every row: its errors must not be below the true ones."""
    rng = np.random.default_rng(posed.seed)
    exact = oracle.attention(
        *(posed.cleaned()[n] for n in ("q", "k", "v")), scale=posed.scale, visible=posed.visible()
    )
    size = np.max(np.abs(exact.value), axis=(-2, -1), keepdims=True)
    noise = np.exp2(-rng.integers(0, 60, exact.value.shape)) * rng.standard_normal(
        exact.value.shape
    )
    dtype = posed.arrays["q"].dtype
    top = np.finfo(dtype).max
    with np.errstate(all="ignore"):
        value = np.clip(exact.value + size * noise, -top, top).astype(dtype)
    count, n_q = value.shape[0], value.shape[1]
    report = aa.audit(
        lib.put(value),
        arrays["q"],
        arrays["k"],
        arrays["v"],
        rows=count * n_q,
        rng=rng,
        **_options(posed, lib.put, ("scale", "causal", "key_mask")),
    )
    bounds = np.zeros((count, n_q))
    bounds[tuple(report.rows.T)] = report.errors
    row = Row(name="audit", modes=())

    def enclose(item: int) -> Any:
        return enclosures.ends(value[item], enclosures.attention_rows(row, posed, item))

    return Seen(claims=[row_claim("errors", value, bounds, exact, enclose=enclose)])


def tensor(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `tensor_attention` once."""
    out = aa.tensor_attention(
        *(arrays[n] for n in ("q", "k", "k2", "v", "v2")), scale=posed.scale, **dict(row.options)
    )
    value, a = lib.get(out.value), posed.arrays
    # products of two numbers of at most 53 bits round by u in the 80-bit format, which the
    # constants of the oracle (d + 8, n + 8) have room for
    k, v = (
        (a[x].astype(oracle.Long)[:, :, None] * a[y].astype(oracle.Long)[:, None]).reshape(
            len(value), -1, a[x].shape[-1]
        )
        for x, y in (("k", "k2"), ("v", "v2"))
    )
    beta = oracle.Long(1) / a["q"].shape[-1] if posed.scale is None else posed.scale
    exact = oracle.attention(a["q"], k, v, scale=beta)
    # with a single pair the oracle says 0, but that product has rounded
    product = 4 * oracle.U * np.max(np.abs(v), axis=(-2, -1), keepdims=True)
    exact = Exact(exact.value, exact.error + product)

    def enclose(item: int) -> Any:
        return enclosures.ends(value[item], enclosures.tensor_rows(posed, item))

    dtypes = [("out", str(value.dtype), promised(str(a["q"].dtype)))]
    claim = row_claim("out", value, out.certificate.rows, exact, enclose=enclose)
    return Seen(claims=[claim], dtypes=dtypes)
