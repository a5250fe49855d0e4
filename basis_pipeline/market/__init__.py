"""What things were worth: recorded prices, marks, conversion rates and indices, answered as of an instant.

Belongs here: reading and checking market data, deciding which source answers for which name.
Does not belong here: what a balance is, how equity is added up, where results are stored. Imports only ``domain``.
"""
