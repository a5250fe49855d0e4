"""The books of a crypto basis-trading fund: an append-only ledger and everything that follows from it.

Nothing heavy is imported here, so that ``import basis_pipeline`` and ``basis --help`` stay fast.
"""

__version__ = "0.1.0"
