"""Where the statements of this folder come from."""

CITATION = "Haverbeck, Amo Alonso, Posada-Moreno, Trimpe & Pavone, arXiv 2609.37261 (2026)"
