"""The `basis.yaml` that `basis init` writes: every setting, commented out, with what it means.

Prose begins with ``# ``, settings with ``#`` alone, so that taking away that one character turns a setting on. A test
turns all of them on and loads the result.
"""

from __future__ import annotations

TEMPLATE = """\
# Settings of one set of books. Lines that begin with a bare # are settings at rest:
# take the # away to use one. An environment variable wins over this file:
# BASIS_MODE, BASIS_MARKET_DATA, BASIS_PRICES__MAX_AGE, BASIS_LEDGER__URL ...

# Where numbers come from: backtest reads recorded market data, live the venues below.
mode: backtest

# For backtests: directory with prices.parquet and aave_reserve_hourly.parquet (or .csv, .csv.gz).
# A relative path starts at this file.
#market_data: market_data

# Each portfolio: its share class (USDT or ETH), the capital in its wallet at the start (in that
# currency, quoted, so that no digit is lost) and the start. They are written into the ledger
# once and cannot change afterwards.
#portfolios:
#  my_portfolio:
#    share_class: USDT
#    initial_capital: "1000000"
#    start: 2024-05-12T00:00:00Z
#  my_ether:
#    share_class: ETH
#    initial_capital: "400"
#    start: 2024-05-12T00:00:00Z

# Tokens besides the built-in ones. kind is base, lst, atoken, debt, reward or locked.
#tokens:
#  rETH:
#    kind: lst
#    decimals: 18
#    underlying: ETH
#    rate: lst:rETH
#    address: "0xae78736Cd615f374D3085123A210448E74Fc6393"
#    protocol: wallet
#    aliases: [RETH]
#  aRETH:
#    kind: atoken
#    decimals: 18
#    underlying: rETH
#    reserve: rETH

# Prices: how old one may be (s, min, h, d), and where it comes from if not from the
# usual places. A source is a venue, or venue:SYMBOL:kind; the first that has a price answers.
#prices:
#  max_age: 2h
#  max_age_by_name:
#    BTC: 1h
#  routes:
#    ETH: [bybit, binance]
#    EIGEN: ["derived:EIGENUSDT:spot"]
#  conversions:
#    "lst:rETH": ["aave_oracle:rETHETH:oracle"]
#  marks:
#    "okx:ETHUSDT-PERP": ["binance:ETHUSDT:perp"]
#  cache: 30s
#  timeout: 10s
#  band: "0.01"

# The ledger's database; without this a SQLite file in the home. Keep passwords out of files:
# set BASIS_LEDGER__URL instead.
#ledger:
#  url: postgresql+psycopg://basis@localhost/basis

# How long files of the warehouse stay after newer ones took their place.
#superseded_files_kept: 1h

# Equity: how often a monitor calculates it by itself, and which change of it is told: more than
# the threshold of the last value told, or of the floor (share-class currency) if that is larger.
#equity:
#  update_interval: 60s
#  change_threshold: "0.001"
#  change_floor: {USDT: "1000", ETH: "0.5"}
#  change_of: total_equity

# Sensors: how often they look, and how often days are tried again when their runs fail.
#sensors:
#  interval: 5s
#  attempts: 3
#  retry_after: 30s

# Who is told of what needs a person. The URLs of channels (Slack, Telegram, e-mail, webhooks, as
# Apprise writes them) are secrets: BASIS_ALERTS__CHANNELS__DESK__URL, or a file.
#alerts:
#  renotify_after: 4h
#  channels:
#    desk:
#      url_file: secrets/desk_channel
#      severity: warning
#      kinds: [drift, missing_price, failed_run]

# Strategies for `basis decide`, each over one portfolio, one of each kind here. All of them take
# the threshold, the minimum and sized_by (total_equity or nav); what else there is belongs to
# the kind that it stands with.
#strategies:
#  lending:
#    portfolio: my_portfolio
#    kind: usdt_lending
#    position_deviation_threshold: "0.02"
#    minimum_deviation_usd: "10"
#    sized_by: total_equity
#    reserve: "0.02"
#  loop:
#    portfolio: my_ether
#    kind: eth_leveraged_loop
#    target_ltv: "0.8"
#    reserve: "0.05"
#    collateral: aWeETH
#  carry:
#    portfolio: my_portfolio
#    kind: basis
#    asset: BTC
#    allocation: {binance: "60", okx: "40"}
#    instrument: BTCUSDT-PERP
#    size_step: "0.001"
#    spot_share: "0.5"
#    spot_venue: binance
#  hedge:
#    portfolio: my_portfolio
#    kind: usdt_market_neutral
#    allocation: {binance: "60", bybit: "40"}
#    instrument: ETHUSDT-PERP
#    size_step: "0.001"
#    unwrap_gas_multiple: "100"

# From here on live mode only. Secrets never stand in this file, where they are refused: set
# environment variables (BASIS_ETHEREUM__RPC_URLS, BASIS_ACCOUNTS__DESK__API_KEY, __SECRET and
# __PASSPHRASE, BASIS_REDIS_URL), or name files that hold them
# (rpc_urls_file, api_key_file, secret_file, passphrase_file).

# Each account belongs to one portfolio, which has one account per venue. Keys that may only
# read are enough. parts choose what is read of an exchange account, if not the usual.
#accounts:
#  treasury:
#    portfolio: my_portfolio
#    venue: wallet
#    address: "0x1111111111111111111111111111111111111111"
#  desk:
#    portfolio: my_portfolio
#    venue: binance
#    parts: [spot, usdm_futures]
#    api_key_file: secrets/desk_api_key
#    secret_file: secrets/desk_secret

# The Ethereum node: block is finalized, safe, or so many blocks behind the head. Another chain
# than mainnet has other contracts; its feeds are Chainlink's for prices in USD, by token.
#ethereum:
#  rpc_urls_file: secrets/rpc_urls
#  block: finalized
#  request_timeout: 10s
#  chain_id: 1
#  pool_addresses_provider: "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
#  multicall: "0xcA11bde05977b3631167028862bE2a173976CA11"
#  chainlink_feeds: {}

# Reach exchanges through <gateway>/<their host>/<path> instead of directly.
#exchange_gateway: https://gateway.internal

# Reconciliation: adjust the ledger to drift that stands, or only alert; and what may differ.
#reconciliation:
#  on_drift: adjust
#  deadline: 30s
#  skew_max: 30s
#  settle_window: 15min
#  transfer_window: 24h
#  second_reading_after: 5s
#  opening_tolerance: "0.01"
#  tolerances:
#    "binance:USDT": {absolute: "0.01"}
#    okx: {relative: "0.000001"}

# Where position monitors publish.
#redis_url_file: secrets/redis_url
"""
