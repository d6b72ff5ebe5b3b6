"""A method for each head, chosen by its error on samples, kept in a file, and watched in use."""
