"""Where the statements of this folder come from."""

CITATION = (
    "Han, Jayaram, Karbasi, Mirrokni, Woodruff & Zandieh, HyperAttention, arXiv 2310.05869 (2023)"
)
