"""Names of methods: read back as the method, or refused; nothing is run."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from methods import TABLE

import approxattn as aa
from approxattn.methods.naming import give_name, method_of, name_of


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_every_method_has_a_name_that_gives_it_back(row) -> None:
    assert method_of(name_of(row.method)) == row.method


def test_the_name_is_what_a_user_would_write() -> None:
    assert name_of(aa.Polynomial(degree=4, basis="taylor")) == (
        "Polynomial(degree=4, basis='taylor')"
    )
    assert name_of(aa.BertLSH(fill=-np.inf, sparse=True)) == "BertLSH(fill=-inf, sparse=True)"
    assert name_of("Exact()") == "Exact()"


def test_methods_with_arrays_are_told_apart() -> None:
    # their arrays take no part in comparisons, so equality alone would mix them up
    one, two = (aa.Linformer(key_projection=np.full((2, 6), x)) for x in (1.0, 2.0))
    assert one == two
    assert name_of(one) == name_of(one) != name_of(two)
    assert method_of(name_of(one)) is one
    assert method_of(name_of(two)) is two


def test_a_numbered_name_ends_with_its_method() -> None:
    name = name_of(aa.Linformer(key_projection=np.ones((2, 6))))
    gc.collect()
    with pytest.raises(ValueError, match="names no method"):
        method_of(name)


def test_given_names() -> None:
    method = aa.Linformer(key_projection=np.ones((2, 6)))
    give_name("mine", method)
    assert method_of("mine") is method
    with pytest.raises(TypeError, match="must be an instance"):
        give_name("class", aa.Exact)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Exact",
        "exact()",
        "Polynomial(4)",
        "Polynomial(degree=n)",
        "Polynomial(degree=__import__('os').getpid())",
        "Polynomial(width=4)",
        "Polynomial(degree=-1)",
        "Exact(); Exact()",
        "aa.Exact()",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        method_of(text)


@pytest.mark.parametrize("thing", [aa.Exact, 4, None])
def test_other_things_are_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="must be an instance"):
        name_of(thing)
