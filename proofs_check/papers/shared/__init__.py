"""Mathematics that the statements of several papers share."""
