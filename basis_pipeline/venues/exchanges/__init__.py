"""Exchange accounts through unmodified ccxt: Binance, Bybit and OKX.

ccxt signs, limits the rate and knows each venue's errors; its raw ("implicit") methods are asked, so that every answer
is exactly one HTTP answer, checked by shape before it is understood. The unified methods are not used for accounts:
they read an empty answer as an empty account and call equity what is not cash.

``connection`` opens ccxt, ``payloads`` checks shapes, ``binance``, ``bybit`` and ``okx`` know what each venue's fields
mean, ``reader`` makes one account of its parts and ``checks`` is what `basis doctor` asks.
"""

from __future__ import annotations

from basis_pipeline.venues.exchanges.connection import Connection, Credentials, close_exchange, open_exchange
from basis_pipeline.venues.exchanges.reader import ExchangeReader, exchange_reader

__all__ = ["Connection", "Credentials", "ExchangeReader", "close_exchange", "exchange_reader", "open_exchange"]
