"""Where the statements of this folder come from."""

CITATION = "Alman & Song, Fast Attention Requires Bounded Entries, NeurIPS 2023 (arXiv 2302.13214)"
RESTATED = (
    "Liang, Sha, Shi, Song & Zhou, arXiv 2408.13233v2 (2024), restating Alman & Song, NeurIPS 2023"
)
"""Where a lemma of the paper was read: not in its own text, but word for word in a later one."""
