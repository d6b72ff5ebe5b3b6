"""Under causal=True the future is invisible: a prefix of the tokens gives a prefix of the output,
and the last row sees all keys.
"""

import numpy as np
import pytest
from cases import Case, cases, gap, rounding, run
from methods import TABLE, Row, obeying
from namespaces import LIBRARIES, Library

import approxattn as aa

CAUSAL = [row for row in TABLE if not row.method.why_not_causal and "causal" not in row.exempt]
EXACT_PREFIX = [row for row in CAUSAL if row in obeying("causal prefix")]


def prefix(case: Case, m: int) -> Case:
    mask = case.options.get("key_mask")
    options = {**case.options} if mask is None else {**case.options, "key_mask": mask[..., :m]}
    return case.where(
        q=case.q[..., :m, :], k=case.k[..., :m, :], v=case.v[..., :m, :], options=options
    )


def causal_cases(row: Row) -> list[Case]:
    found = [case for case in cases(row) if case.options.get("causal")]
    assert found, f"no causal case suits {row}"
    return found


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", CAUSAL, ids=str)
def test_prefix_consistency_within_the_certificates(row: Row, library: Library) -> None:
    for case in causal_cases(row):
        whole = run(row, case, library)
        for m in (1, 4, case.q.shape[-2] - 1):
            part = run(row, prefix(case, m), library)
            allowed = part.certificate.rows + whole.certificate.rows[..., :m]
            excess = np.abs(part.value - whole.value[..., :m, :]).max(axis=-1) - allowed
            assert (excess <= 0).all(), f"by {excess.max()} on the first {m} tokens of case {case}"


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", EXACT_PREFIX, ids=str)
def test_prefix_consistency_to_rounding(row: Row, library: Library) -> None:
    for case in causal_cases(row):
        whole = run(row, case, library).value
        for m in (1, 4, case.q.shape[-2] - 1):
            found = gap(run(row, prefix(case, m), library).value, whole[..., :m, :])
            assert found <= rounding(case), f"on the first {m} tokens of case {case}"


def test_exemptions_are_needed() -> None:
    for row in [row for row in CAUSAL if row not in EXACT_PREFIX]:
        found = [
            gap(run(row, prefix(case, 4)).value, run(row, case).value[..., :4, :]) > rounding(case)
            for case in causal_cases(row)
        ]
        assert any(found), row.exempt["causal prefix"]


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", CAUSAL, ids=str)
def test_last_row_sees_every_key(row: Row, library: Library) -> None:
    for case in causal_cases(row):
        causal = run(row, case, library)
        whole = run(row, case.where(options={**case.options, "causal": False}), library)
        allowed = (
            causal.certificate.rows[..., -1] + whole.certificate.rows[..., -1] + rounding(case)
        )
        assert (np.abs(causal.value - whole.value)[..., -1, :].max(axis=-1) <= allowed).all(), (
            f"on case {case}"
        )


@pytest.mark.parametrize("row", [row for row in TABLE if row not in CAUSAL], ids=str)
def test_methods_without_a_causal_form_say_so(row: Row) -> None:
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="causal=True"):
        aa.attention(x, x, x, row.method, causal=True, rng=np.random.default_rng(0))
