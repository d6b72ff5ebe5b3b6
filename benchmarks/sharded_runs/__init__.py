"""Attention from files to a file by one process and by many, timed, weighed and killed."""
