"""What the numbers mean: pure, exact, without clock, environment, files or network.

Belongs here: tokens, updates, books, Aave maths, valuation, equity, and the protocols other rooms answer to.
Does not belong here: anything that reads or writes something. This package imports no other room of the product.
"""
