"""Headings of the report: what the first part of a key stands for."""

from __future__ import annotations

__all__ = ["GROUPS"]

GROUPS = {
    "linformer": "Linformer (Wang et al. 2020)",
    "aa22": "Kernel density and attention (Aggarwal & Alman 2022)",
    "as23": "Fast attention with bounded entries (Alman & Song 2023)",
    "as24": "The gradient of fast attention (Alman & Song 2024)",
    "as24b": "Tensor attention (Alman & Song 2024, ICLR)",
    "lss24": "Multi-layer gradients (Liang et al. 2024)",
    "sata": "Attention by symmetric Taylor features (Heinsen & Kozachkov 2026)",
    "hmt": "Randomised singular values (Halko, Martinsson & Tropp 2011)",
    "yoso": "YOSO (Zeng et al. 2021)",
    "bert-lsh": "BERT-LSH (Li & Yip 2024)",
    "kim": "The Lipschitz constant of attention (Kim et al. 2021)",
    "kdeformer": "KDEformer (Zandieh et al. 2023)",
    "hyper": "HyperAttention (Han et al. 2023)",
    "castin": "How smooth is attention? (Castin et al. 2024)",
    "polysketch": "PolySketchFormer (Kacham et al. 2023)",
    "subgen": "SubGen (Zandieh et al. 2024)",
    "conv-basis": "Convolution bases (Gu et al. 2024)",
    "budzinskiy": "Entrywise rank (Budzinskiy 2024)",
    "alman-yu": "Attention and most similar documents (Alman & Yu 2024)",
    "rope": "The gradient of rotary attention (Chen et al. 2024)",
    "gupta": "Any temperature in few dimensions (Gupta et al. 2025)",
    "support-basis": "Support bases (Aliakbarpour et al. 2025)",
    "top-k": "Top-k attention (Tzachristas et al. 2025)",
    "vattention": "vAttention (Desai et al. 2025)",
    "wildcat": "WildCat (Schröder & Mackey 2026)",
    "haverbeck": "Attention is hard to approximate (Haverbeck et al. 2026)",
    "ours": "Our own statements",
    "code": "Claims about our own float code",
    "controls": "Controls",
}
"""Headings by the first part of a key, in the order of the page; others follow under the work that
they come from.
"""
