"""What people look at: query results and books arranged as small tables, and those as text.

Belongs here: which columns a person wants in which order, and how numbers are shown to a person. Does not belong here:
computing any number (the steps do), reading options or writing to a terminal (the command line does).

    report.py     what a report is, and its values as exact text
    text.py       a report as aligned text, numbers rounded for reading
    equity.py     equity by portfolio, venue, asset or underlying
    positions.py  what the ledger says is held
    reconciliation.py  what reconciling came to, by key or by account
    alerts.py     what needs a person, and the channels that alerts do not reach
    status.py     how each portfolio's ledger, projection and publishing stand
"""
