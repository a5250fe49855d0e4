"""What analysts read: immutable Parquet day files and the DuckDB catalogue that lists the current ones.

Belongs here: the declaration of every table, writing and checking day files, publishing `basis.duckdb`, collecting
superseded files, and reading. Does not belong here: deciding what is current (the ledger database does, the warehouse
is told) and computing any number. Nothing in this room is a source of truth: all of it can be materialized again.

    tables.py     every table and view, declared once
    dayfiles.py   rows in, one immutable file per table and day out
    catalogue.py  `basis.duckdb`: views over explicit file lists, replaced by rename
    lock.py       one publisher at a time
    garbage.py    removing what no reader can need any more
    reading.py    tables and queries as frames or rows
"""
