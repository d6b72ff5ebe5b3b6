"""Where the statements of this folder come from."""

CITATION = "Tzachristas, Deng, Tzachristas, Zhang & Chen, arXiv 2512.07647 (2025)"
