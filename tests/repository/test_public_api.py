"""The public names of both packages are these lists, and each name documents what its kind
needs.
"""

import dataclasses
import enum
import importlib
import importlib.util
import inspect
import re
import types
from typing import Any

import pytest

import approxattn
import approxattn.data
import approxattn.distributed
import approxattn.testing
import approxattn.transformer
import proofs_check

METHODS = [
    "BertLSH",
    "Clustered",
    "Exact",
    "FittedLinformer",
    "FittedPolynomial",
    "LSHSoftmax",
    "Linformer",
    "Nystrom",
    "Performer",
    "Polynomial",
    "SelectedSummaries",
    "Yoso",
    "YosoExpectation",
]
PUBLIC = {
    approxattn: [
        "ALiBi",
        "Approximation",
        "Audit",
        "Certificate",
        "Cost",
        "GradientCertificate",
        "Gradients",
        "LinformerState",
        "MomentState",
        "PerformerState",
        *["Auto", "HeadCheck", "HeadPlan", "Plan", "PlanFileError", "PlanWarning"],
        *["PlannedApproximation", "plan"],
        "PolynomialState",
        "Regime",
        "YosoState",
        *METHODS,
        "attention",
        "attention_vjp",
        "audit",
        "diagnose",
        "tensor_attention",
        "weights",
    ],
    approxattn.data: ["Heads", "minilm_heads"],
    approxattn.distributed: [
        "Capacity",
        "WorkersLostError",
        "Written",
        "WrittenGradients",
        "attention",
        "attention_vjp",
        "capacity",
    ],
    approxattn.testing: [
        *["Attention", "Examination", "Finding", "NoOutputError", "Problem"],
        *["assert_law", "attention_checks", "check_attention"],
        *["key_masks", "parametrize_with_checks", "problems"],
    ],
    approxattn.transformer: [
        *[
            "Custom",
            "Embedding",
            "Layer",
            "LayerNorm",
            "Linear",
            "Mlp",
            "Residual",
            "SelfAttention",
            "Transformer",
        ],
        *["DegreeChoice", "LayerErrors", "ModelCertificate", "ModelGradients", "Output"],
        *["choose_degrees", "forward", "gradient", "parameters", "with_parameters"],
    ],
    proofs_check: [
        *[
            "Assumption",
            "Comparison",
            "Continuous",
            "Count",
            "Enclose",
            "Falsify",
            "Identity",
            "Plan",
            "Sample",
            "Scale",
        ],
        *["Source", "Status", "Symbolic", "Theorem", "Verdict"],
    ],
}
FRONT_ENDS = {
    "transformers": {
        "approxattn.torch": [
            *["Call", "ExactFallbackWarning", "Fidelity", "Head", "Heads", "LayerHeads"],
            *["LayerReport", "ModelAudit", "ModelPlan", "Report", "capture", "fidelity"],
            *["give_name", "plan", "record_calls", "register", "report"],
            "scaled_dot_product_attention",
        ],
    },
    "jax": {"approxattn.jax": ["attention", "traced_attention"]},
    "dask": {
        "approxattn.dask": ["LazyApproximation", "LazyGradients", "attention", "attention_vjp"]
    },
}
"""Looked at where the library is installed."""

for library, modules in FRONT_ENDS.items():
    if importlib.util.find_spec(library):
        PUBLIC |= {importlib.import_module(name): names for name, names in modules.items()}
NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]


def sections(doc: str) -> dict[str, str]:
    """Split a numpydoc docstring into its sections; the text before the first is called Summary."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", doc, flags=re.MULTILINE)
    return {"Summary": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def undocumented(obj: Any) -> list[str]:
    """Return what the docstring of a function, record, enumeration or error lacks."""
    found = sections(inspect.cleandoc(obj.__doc__ or ""))
    lacks = (
        []
        if found["Summary"].split("\n\n")[0].rstrip().endswith((".", ":"))
        else ["a one-sentence summary"]
    )
    if isinstance(obj, types.FunctionType):
        names = list(inspect.signature(obj).parameters)
        gives = "Yields" if inspect.isgeneratorfunction(inspect.unwrap(obj)) else "Returns"
        wanted, table = [gives], found.get("Parameters", "")
        wanted += ["Raises"] if "raise " in inspect.getsource(obj) else []
        lacks += [section for section in wanted if section not in found]
    elif dataclasses.is_dataclass(obj) or hasattr(obj, "_fields"):
        fields = (
            obj._fields
            if hasattr(obj, "_fields")
            else (field.name for field in dataclasses.fields(obj))
        )
        names = [name for name in fields if not name.startswith("_")]
        table = found.get("Parameters", "") + found.get("Attributes", "")
    else:
        assert issubclass(obj, (enum.Enum, Exception)), (
            f"{obj!r}: say here what the docstring of such a thing needs"
        )
        names, table = [], ""
    documented = {
        n
        for line in re.findall(r"^(\w[^:\n]*)(?: :|$)", table, re.MULTILINE)
        for n in line.split(", ")
    }
    # two fields need no table
    documented |= set(re.findall(r"``(\w+)", found["Summary"])) if not table else set()
    return lacks + [f"parameter {name}" for name in names if name not in documented]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_all_is_the_list(module: types.ModuleType) -> None:
    assert sorted(module.__all__) == sorted(PUBLIC[module])


@pytest.mark.parametrize("module", [approxattn, proofs_check], ids=lambda module: module.__name__)
def test_nothing_else_is_public(module: types.ModuleType) -> None:
    others = {
        n
        for n, o in vars(module).items()
        if not n.startswith("_") and not isinstance(o, types.ModuleType)
    }
    assert others == set(PUBLIC[module])


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda x: getattr(x, "__name__", x))
def test_documentation(module: types.ModuleType, name: str) -> None:
    assert undocumented(getattr(module, name)) == []


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_frozen_keyword_only_records(name: str) -> None:
    method: Any = getattr(approxattn, name)
    assert method.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(method))


# --- the check of the documentation can fail ------------------------------------------------------


def documented(x: int, y: int) -> int:
    """Add.

    Parameters
    ----------
    x, y : int
        Numbers.

    Returns
    -------
    int
        The sum.
    """
    return x + y


def missing_parameter(x: int, y: int) -> int:
    """Add.

    Parameters
    ----------
    x : int
        A number.

    Returns
    -------
    int
        The sum.
    """
    return x + y


def missing_raises(x: int) -> int:
    """Check

    Parameters
    ----------
    x : int
        A number.
    """
    if x < 0:
        raise ValueError
    return x


@dataclasses.dataclass(frozen=True)
class MissingField:
    """A record."""

    x: int


def test_the_check_can_fail() -> None:
    assert undocumented(documented) == []
    assert undocumented(missing_parameter) == ["parameter y"]
    assert undocumented(missing_raises) == ["a one-sentence summary", "Returns", "Raises"]
    assert undocumented(MissingField) == ["parameter x"]
