"""For how long parked jobs are kept (domain/parked.py). Apart, since who reads a setting needs no queue."""

from datetime import timedelta
from typing import Final

KEPT_DAYS: Final = 14
SECRET_KEPT: Final = timedelta(days=3)
