"""Ways to call: attention and its gradient, states, tensors, audits, whole networks."""
