"""The one tree of exceptions. Each message says what is wrong, with which value, and what to do about it.

``BasisError`` is what a caller catches to handle everything the product raises on purpose; whatever else
escapes is a defect.
"""

from __future__ import annotations


class BasisError(Exception):
    """Root of every error the product raises on purpose."""


class ConfigError(BasisError):
    """A setting is missing or unusable; the message names the key and the file or variable."""


class MonitorError(ConfigError, ValueError):
    """A monitor does not fit its home, its ledger or Redis, and does not start."""


class InputError(BasisError, ValueError):
    """Something handed in from outside is malformed; the message names the field and the value."""


class UpdateError(InputError):
    """A balance update is malformed or has the wrong shape for its trigger."""


class UnknownNameError(InputError):
    """A token, venue, instrument, trigger or portfolio that is not registered."""


class BookError(UpdateError):
    """A well-formed update the book cannot take: an overdrawn wallet, a CLOSE of nothing, a wrong ``new_balance``."""


class LedgerError(BasisError):
    """The ledger cannot do what was asked (storage, schema version, unknown entry)."""


class TermsError(LedgerError, ValueError):
    """A portfolio is in the ledger with another capital, share class or start."""


class DuplicateIdError(LedgerError, ValueError):
    """An entry id that exists already, with other content."""


class LateEntryError(LedgerError, ValueError):
    """A late entry that would make a later, already accepted entry impossible; the message names that entry."""


class LedgerBusyError(LedgerError):
    """Another process is writing to the database, longer than we wait for it."""


class LedgerMovedError(LedgerError):
    """Entries were added since the ledger was read, and what was to be appended followed from what was read."""


class LedgerBrokenError(LedgerError):
    """Verification found a changed, missing, reordered or cut-off entry."""


class MarketDataError(BasisError):
    """Market history cannot be read or understood; the message names the file and the column or row."""


class MissingPriceError(BasisError):
    """Held assets could not be valued. ``failures`` lists every (portfolio, instant, token, what was tried)."""

    def __init__(self, message: str, failures: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures


class WarehouseError(BasisError):
    """A day file or the catalogue cannot be written or read."""


class VenueError(BasisError):
    """A venue cannot be read, or answers something that cannot be trusted; names the venue and what came back."""


class VenueConfigError(ConfigError):
    """A venue is not what the configuration says: wrong chain, missing contract, wrong decimals. Nothing starts."""


class ReconciliationError(BasisError):
    """A reconciliation cannot be done as asked, for example of an hour that has passed."""


class PublishingError(BasisError):
    """Redis cannot be reached or does not take what is published; the ledger is not affected."""


class DeliveryError(BasisError):
    """A channel did not take an alert; the message says why and holds no part of the channel's URL."""
