"""The table of docs/masks.md says what calls do."""

from __future__ import annotations

from itertools import combinations

import pytest
from mask_table import FORMS, PAGE, classes, reason, takes, with_table


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run `python tests/support/masking/mask_table.py`"


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
    for size in (2, 3):
        for forms in combinations(FORMS, size):
            if {"sinks", "return_lse"} <= {*forms}:
                continue
            together = {key: x for form in forms for key, x in FORMS[form].items()}
            assert takes(method, together) == all(alone[form] for form in forms), forms
