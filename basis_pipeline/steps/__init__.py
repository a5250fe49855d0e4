"""One function per asset: a range of days and the ports in, day files published and a report back.

Belongs here: what a Dagster asset, a CLI command, the live loop and a test all do in the same way. Does not belong
here: Dagster, settings, and what the numbers mean (that is ``domain``).
"""
