"""Where the statements of this folder come from."""

CITATION = "Halko, Martinsson & Tropp, Finding Structure with Randomness, SIAM Review 53 (2011)"
