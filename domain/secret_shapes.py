"""What secrets of ours look like in any text: access tokens, API keys, tokens for refreshing and in links."""

from typing import Final

# Alternatives of one expression, for text and for bytes alike.
OURS: Final = (
    r"\beyJ[\w-]{5,}\.[\w-]+\.?[\w-]*"  # a JWT
    r"|\bmk_(?:live|test)_\w+"
    r"|\bm[a-z]{1,3}t_[\w.-]{8,}"  # refresh tokens, and those of links in mails
)
