"""The tables of docs/generated/capabilities.md say what calls do."""

from __future__ import annotations

import inspect
from itertools import combinations

import pytest
from capabilities import ABILITIES, COMMAND, FORMS, PAGE, arguments_of, classes, page, reason, takes

import approxattn as aa
from approxattn.methods import all_methods


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert page() == written, f"run `{COMMAND}`"


def test_every_method_has_a_row() -> None:
    assert set(classes()) == {kind.__name__ for kind in all_methods()}


def test_no_column_is_the_same_for_all() -> None:
    """But for those that say so of every method: such a column would not tell anything."""
    methods = [row.method for row in classes().values()]
    same = {name for name, able in ABILITIES.items() if len({able.has(m) for m in methods}) == 1}
    assert same <= {"gradient", "cost"}


def test_arguments_are_those_of_the_calls() -> None:
    signature = inspect.signature(aa.attention).parameters
    assert arguments_of("attention", "attend/__init__.py") == set(signature)


@pytest.mark.parametrize("name", classes())
def test_a_method_that_does_not_take_a_mask_says_why(name: str) -> None:
    method = classes()[name].method
    for form, options in FORMS.items():
        if not takes(method, options):
            assert len(reason(method, form)) > 40


@pytest.mark.parametrize("name", classes())
def test_forms_together_are_taken_where_each_is(name: str) -> None:
    """So the table says it all: no combination is refused for a reason of its own, but for the sum
    of e^score with a sink in it, which parts would count twice.
    """
    method = classes()[name].method
    alone = {form: takes(method, options) for form, options in FORMS.items()}
    bare = [form for form in FORMS if form not in ("scale", "bias of positions")]
    for size, among in ((2, list(FORMS)), (3, bare)):
        for forms in combinations(among, size):
            if {"sinks", "return_lse"} <= {*forms}:
                continue
            together = {key: x for form in forms for key, x in FORMS[form].items()}
            assert takes(method, together) == all(alone[form] for form in forms), forms
