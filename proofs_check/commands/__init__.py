"""The commands of `proofs_check`; everything heavy is imported inside them."""
