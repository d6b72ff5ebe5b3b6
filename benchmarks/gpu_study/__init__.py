"""What is measured on a GPU, in which order, and how the records are kept and read."""
