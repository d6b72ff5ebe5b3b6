"""Where the statements of this folder come from."""

CITATION = (
    "Zeng, Xiong, Ravi, Acharya, Fung & Singh, You Only Sample (Almost) Once, ICML 2021 (arXiv "
    "2111.09714)"
)
