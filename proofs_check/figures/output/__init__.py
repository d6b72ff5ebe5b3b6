"""From a figure to its files: how it is drawn, written and shown on the page of the gallery."""
