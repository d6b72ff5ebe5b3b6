"""The hunt for certificates below the true error: problems made to hurt, judged by an oracle of
extended precision, and by ball arithmetic where that cannot decide.

A cell is a row of the table of methods, a mode, a dtype and an array library. Work comes in chunks:
some dozens of problems of one shape, which follow from the seed, the cell and a number alone.
"""
