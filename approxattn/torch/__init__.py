"""Attention of torch tensors and of Hugging Face models by any method of this package.

Needs torch: `pip install 'approxattn[torch]'`; the parts for models need transformers:
`approxattn[transformers]`.
"""

from approxattn.diagnosis.trials import Head, LayerReport
from approxattn.methods.naming import give_name
from approxattn.planning.layers import plan
from approxattn.planning.model import ModelAudit, ModelPlan
from approxattn.torch.attention import scaled_dot_product_attention
from approxattn.torch.capture import Heads, LayerHeads, capture
from approxattn.torch.fidelity import Fidelity, fidelity
from approxattn.torch.hugging_face import register
from approxattn.torch.records import Call, ExactFallbackWarning, record_calls
from approxattn.torch.report import Report, report

__all__ = [
    "Call",
    "ExactFallbackWarning",
    "Fidelity",
    "Head",
    "Heads",
    "LayerHeads",
    "LayerReport",
    "ModelAudit",
    "ModelPlan",
    "Report",
    "capture",
    "fidelity",
    "give_name",
    "plan",
    "record_calls",
    "register",
    "report",
    "scaled_dot_product_attention",
]
