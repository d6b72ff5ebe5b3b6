"""Where the statements of this folder come from."""

CITATION = "Zandieh, Han, Daliri & Karbasi, KDEformer, arXiv 2302.02451 (2023)"
