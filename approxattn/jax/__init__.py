"""Attention of JAX arrays under jit, grad and vmap, by any method of this package.

Needs JAX: `pip install 'approxattn[jax]'`.
"""

from approxattn.jax.callback import attention
from approxattn.jax.traced import traced_attention

__all__ = ["attention", "traced_attention"]
