"""Contracts that answer what they are told to, put straight into a test chain: Chainlink's aggregators, for one.

::

    address = place_feed(chain, "ETH", "3000.25", updated_at=chain.now)
    place_feed(chain, "ETH", "0", updated_at=chain.now)     # the same address, another answer
    place_vault(chain, {"EIGEN": "2.5", "ETHFI": "1"})      # one share is redeemed for this
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from eth_abi import encode
from eth_utils import function_signature_to_4byte_selector

from basis_pipeline_tests.rigs.ethereum import AaveChain

_BRANCH_BYTES = 11


def constant_contract(answers: Mapping[str, bytes]) -> str:
    """The code of a contract that answers each function (``decimals()``) with these bytes and reverts for others."""
    bodies_at = 5 + _BRANCH_BYTES * len(answers) + 4
    body_bytes = 17
    data_at = bodies_at + body_bytes * len(answers)
    branches, bodies, data = b"", b"", b""
    for number, (signature, answer) in enumerate(answers.items()):
        selector = bytes(function_signature_to_4byte_selector(signature))
        # dup1, push4 selector, eq, push2 body, jumpi
        branches += b"\x80\x63" + selector + b"\x14\x61" + (bodies_at + body_bytes * number).to_bytes(2) + b"\x57"
        length, place = len(answer).to_bytes(2), (data_at + len(data)).to_bytes(2)
        # jumpdest, push2 length, push2 place, push1 0, codecopy, push2 length, push1 0, return
        bodies += b"\x5b\x61" + length + b"\x61" + place + b"\x60\x00\x39\x61" + length + b"\x60\x00\xf3" + b"\x00"
        data += answer
    # push0, calldataload, push1 224, shr ... push0, push0, revert
    code = b"\x5f\x35\x60\xe0\x1c" + branches + b"\x5f\x5f\xfd\x00" + bodies + data
    assert len(branches) == _BRANCH_BYTES * len(answers)
    assert len(bodies) == body_bytes * len(answers)
    return "0x" + code.hex()


def place_vault(chain: AaveChain, amounts: Mapping[str, Decimal | str], fee: int = 0) -> str:
    """The address of a vault of which one share is redeemed for this, by token (or by address, in units)."""
    address = chain.wallet("vault")
    tokens = [chain.tokens.get(token, token) for token in amounts]
    units = [chain.units(token, amount) if token in chain.tokens else int(amount) for token, amount in amounts.items()]
    answers = {
        "decimals()": encode(["uint8"], [18]),
        "previewRedeem(uint256)": encode(["address[]", "uint256[]", "uint256"], [tokens, units, fee]),
    }
    chain.set_code(address, constant_contract(answers))
    return address


def place_feed(
    chain: AaveChain,
    token: str,
    usd: Decimal | str,
    updated_at: datetime | int,
    *,
    decimals: int = 8,
    description: str | None = None,
) -> str:
    """The address of an aggregator that says this of a token, from the newest block on; the same one each time."""
    seconds = updated_at if isinstance(updated_at, int) else int(updated_at.timestamp())
    answer = int(Decimal(usd).scaleb(decimals))
    words = ["uint80", "int256", "uint256", "uint256", "uint80"]
    address = chain.wallet(f"feed of {token}")
    chain.set_code(
        address,
        constant_contract(
            {
                "latestRoundData()": encode(words, [7, answer, seconds, seconds, 7]),
                "decimals()": encode(["uint8"], [decimals]),
                "description()": encode(["string"], [description or f"{token} / USD"]),
            }
        ),
    )
    return address
