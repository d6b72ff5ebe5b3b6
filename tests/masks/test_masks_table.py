"""The table of docs/masks.md says what calls do."""

from __future__ import annotations

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
