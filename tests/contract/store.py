"""What every database has to keep. Subclass ``StoreContract`` and give it the fixture ``store``: an empty one."""

from __future__ import annotations

from tests.contract.store_leases import LeasesContract
from tests.contract.store_listings import ListingsContract
from tests.contract.store_moves import MovesContract
from tests.contract.store_values import ValuesContract


class StoreContract(ValuesContract, MovesContract, ListingsContract, LeasesContract):
    """Subclass it, with the fixture ``store``."""
