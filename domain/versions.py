"""Versions of the API: dates, oldest first. One is added when an answer changes its shape.

What is deprecated is in app/pipeline/deprecation.py.
"""

from typing import Final

SUPPORTED: Final = ("2026-11-22",)
NEWEST: Final = SUPPORTED[-1]
