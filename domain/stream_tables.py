"""The two tables of the log. Read and written by domain/streams.py alone.

stream_entries is partitioned by day; migrations/ says so in SQL, since Piccolo cannot.
"""

from piccolo.columns import BigInt, Text, Timestamptz
from piccolo.table import Table


class StreamHeads(Table, tablename="stream_heads"):
    channel = Text(primary_key=True)
    epoch = Text(null=False)
    top = BigInt(null=False, default=0)


class StreamEntries(Table, tablename="stream_entries"):
    channel = Text(null=False)
    offset = BigInt(null=False, default=0)
    id = Text(primary_key=True)
    type = Text(null=False)
    data = Text(null=False)
    created_at = Timestamptz(null=False, default=None)
