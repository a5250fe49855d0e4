"""How alerts reach people: what a message says, which channel it goes to, and sending it through Apprise.

What stands, and what each channel was told, is kept by ``ledger.alerts``. The URL of a channel is a secret; it is
handed to a process of its own and appears in no text, error or log.
"""
