"""Where the statements of this folder come from."""

CITATION = "Zandieh, Han, Mirrokni & Karbasi, SubGen, arXiv 2402.06082 (2024)"
