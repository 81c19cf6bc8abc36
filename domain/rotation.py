"""Rotation of the encryption key: what an older key has sealed is sealed again with the current one.

The servers go on meanwhile: they run with the new key as current and the old one as previous, seal with the
new one from then on, and open both. A value is replaced only if it is still the one that was read, so nothing
that is written meanwhile is lost. Running it again is harmless; when nothing is left, the old key may go.
"""

from typing import Final

import msgspec

from domain import crypto, db, job_store, jobs

AT_ONCE: Final = 200


class Place(msgspec.Struct, frozen=True):
    """Where sealed values are: a table with an `id`, and a column of it, or the `field` of a JSON column.

    `bound` is the place that a value is sealed for (domain/crypto.py), in SQL: if not said, that of its row.
    `good` says of which rows; what nobody can use any more opens nothing, and need not be opened.
    """

    table: str
    column: str
    field: str | None = None
    good: str = "true"
    bound: str | None = None

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}" + (f".{self.field}" if self.field else "")

    @property
    def place(self) -> str:
        """What a value is sealed for, in SQL."""
        return self.bound or f"'{self.table}/' || id || '/{self.column}'"

    @property
    def value(self) -> str:
        """The sealed value, in SQL."""
        return self.column if self.field is None else f"{self.column} ->> '{self.field}'"

    @property
    def replaced(self) -> str:
        """The column with $3 for the sealed value, in SQL."""
        return (
            "$3"
            if self.field is None
            else f"jsonb_set({self.column}, '{{{self.field}}}', to_jsonb($3::text))"
        )


_GOOD: Final = "used_at IS NULL AND expires_at > now()"
SEALED: Final = (
    Place("oauth_identities", "tokens"),
    Place("mfa_factors", "secret"),
    Place("audit_keys", "secret"),
    # Flows to a provider that are under way (domain/auth/oauth_flows.py).
    Place("one_time_tokens", "data", field="sealed", good=_GOOD),
    # Identities that wait for a second factor (domain/auth/proofs.py).
    Place(
        "one_time_tokens",
        "data",
        field="linking",
        good=_GOOD,
        bound="'one_time_tokens/mfa of ' || user_id || '/linking'",
    ),
    # Answers to requests with a key (domain/idempotency.py).
    Place(
        "idempotency_keys",
        "response",
        good="response IS NOT NULL AND expires_at > now()",
        bound="'idempotency_keys/' || id || '/' || caller || '/' || key || '/response'",
    ),
)


class Rotated(msgspec.Struct, frozen=True):
    """What became of one kind of sealed values: sealed again, or opened by no key that is installed."""

    name: str
    resealed: int
    unopenable: int


async def rotate() -> list[Rotated]:
    """Seal everything again that is not sealed with the current key."""
    return [*[await _column(place) for place in SEALED], await _jobs()]


async def _column(place: Place) -> Rotated:
    resealed, unopenable, last = 0, 0, ""
    while True:
        rows = await db.fetch(
            f"""SELECT id, {place.value} AS sealed, {place.place} AS place FROM {place.table}
                WHERE id > $1 AND {place.good} AND NOT starts_with({place.value}, $2)
                ORDER BY id LIMIT {AT_ONCE}""",  # noqa: S608 - names of ours
            last,
            crypto.current_prefix(),
        )
        for row in rows:
            try:
                plain = crypto.opened(row["place"], row["sealed"])
            except crypto.Unopenable:
                unopenable += 1
                continue
            tag = await db.execute(
                f"""UPDATE {place.table} SET {place.column} = {place.replaced}
                    WHERE id = $1 AND {place.value} = $2""",  # noqa: S608 - names of ours
                row["id"],
                row["sealed"],
                crypto.sealed(row["place"], plain),
            )
            resealed += tag == "UPDATE 1"
        if len(rows) < AT_ONCE:
            return Rotated(place.name, resealed, unopenable)
        last = rows[-1]["id"]


async def _jobs() -> Rotated:
    """What waits, and what is parked until somebody tries it again."""
    resealed, unopenable, last = 0, 0, 0
    secret = [job.name for job in jobs.DECLARED.values() if job.secret]
    while rows := await job_store.payloads(secret, after=last, most=AT_ONCE):
        for row in rows:
            sealed = row.payload.decode()
            if crypto.is_current(sealed):
                continue
            try:
                plain = crypto.opened(jobs.place(row.entrypoint), sealed)
            except crypto.Unopenable:
                unopenable += 1
                continue
            again = crypto.sealed(jobs.place(row.entrypoint), plain)
            resealed += await job_store.replace_payload(row.id, row.payload, again.encode())
        last = rows[-1].id
    return Rotated("jobs", resealed, unopenable)
