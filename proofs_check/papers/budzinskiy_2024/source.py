"""Where the statements of this folder come from."""

CITATION = "Budzinskiy, arXiv 2407.03250 (2024)"
