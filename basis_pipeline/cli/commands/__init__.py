"""The commands, by what a person wants to do.

start.py     init, demo, ui
journal.py   import, record, reverse, export: what goes into the ledger and comes out
project.py   materialize, rebuild: from the ledger to the warehouse
look.py      equity, positions, sql
events.py    events: balance changes as they come
live.py      doctor, reconcile, status: the venues, and how the books stand
care.py      verify, backup
"""
