"""A small synthetic world to try the product on: market data and the journals of three portfolios, from one seed.

Belongs here: random walks, a simulated account that books what its strategies do, and writing both as files.
Does not belong here: anything the product itself computes with. No number of it was observed anywhere.
"""
