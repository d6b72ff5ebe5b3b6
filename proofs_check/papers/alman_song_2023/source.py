"""Where the statements of this folder come from."""

CITATION = "Alman & Song, Fast Attention Requires Bounded Entries, NeurIPS 2023 (arXiv 2302.13214)"
