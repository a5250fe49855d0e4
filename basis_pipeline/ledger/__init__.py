"""The system of record: every balance change, once, in order, immutable.

Belongs here: the schema and its migrations, appending, reading, checkpoints, verification, and the record of which
warehouse files are current. Does not belong here: prices, valuation, or anything that can be recomputed.
"""
