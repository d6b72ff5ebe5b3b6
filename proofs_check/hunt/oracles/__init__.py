"""True values: softmax and its gradient, angles, networks, in 80 bits and in balls."""
