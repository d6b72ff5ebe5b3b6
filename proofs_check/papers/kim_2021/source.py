"""Where the statements of this folder come from."""

CITATION = "Kim, Papamakarios & Mnih, The Lipschitz Constant of Self-Attention, ICML 2021"
