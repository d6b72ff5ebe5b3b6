"""Where the statements of this folder come from."""

CITATION = "Schröder & Mackey, WildCat, arXiv 2602.10056 (2026)"
