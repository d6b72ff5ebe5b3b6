"""Where the statements of this folder come from."""

CITATION = (
    "Liang, Sha, Shi, Song & Zhou, Multi-Layer Transformers Gradient Can be Approximated in Almost "
    "Linear Time, arXiv 2408.13233v2 (2024)"
)
CODE = (
    "Code for Liang, Sha, Shi, Song & Zhou, arXiv 2408.13233v2 (2024), "
    "github.com/JamesSand/MultiLayer"
)
