"""Where the statements of this folder come from."""

CITATION = "Wang, Li, Khabsa, Fang & Ma, Linformer, arXiv 2006.04768v3 (2020)"
