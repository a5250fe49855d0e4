"""Live prices and marks from the exchanges' public endpoints, through unmodified ccxt, without any key.

Two things are asked of each series: what it is worth now, with the venue's own time, and the closes of its last hourly
candles, which are known exactly at the end of their hour, as in market files, and can be filled in later.
``binance``, ``bybit`` and ``okx`` know the venue's requests and answers; ``source`` asks them for what is recorded,
``now`` for what a price provider wants at this moment.
"""

from __future__ import annotations

from basis_pipeline.venues.quotes.now import ExchangePrices, exchange_prices
from basis_pipeline.venues.quotes.source import ExchangeQuotes, exchange_quotes

__all__ = ["ExchangePrices", "ExchangeQuotes", "exchange_prices", "exchange_quotes"]
