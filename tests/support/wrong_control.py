"""A control that comes out otherwise than known."""

from synthetic_theorems import entry

from proofs_check import Count

THEOREMS = (
    entry(
        "controls.wrong",
        Count(
            measured=lambda n: n,
            formula=lambda n: 2 * n,
            sizes=(1,),
            covers="statement",
            scope="one number",
        ),
    ),
    entry(
        "good.identity",
        Count(
            measured=lambda n: n,
            formula=lambda n: n,
            sizes=(1,),
            covers="statement",
            scope="one number",
        ),
    ),
)
