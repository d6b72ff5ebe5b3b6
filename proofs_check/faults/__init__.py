"""Deliberate faults in copies of our own methods, to see which of them the checks of this package
catch.
"""
