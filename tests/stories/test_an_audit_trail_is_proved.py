"""A customer keeps the checkpoints of their team and proves a row; the operator verifies the rest."""

import asyncio
import hashlib
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.config import Config
from tests import proving
from tests.app.company import problem
from tests.factories import Api, Person, item
from tests.listener import Listeners
from tests.processes import MAYCOLE, environment

SEALED_WITHIN_S = 30


async def command(config: Config, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        MAYCOLE,
        "audit",
        *arguments,
        env=environment(config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def test_a_row_is_proved_to_somebody_who_keeps_checkpoints(
    api: Api, url: str, config: Config, listeners: Listeners, tmp_path: Path
) -> None:
    ann = await api.person("Ann")
    team = ann.personal_team_id
    screen = await listeners(url, ann.token)
    channel = f"checkpoints:{team}"
    await screen.follow(channel)
    beans = await item(ann)
    row = (await ann.get(f"/audit-logs?resource={beans['id']}")).json()["data"][0]
    await screen.until(
        lambda: any(entry["data"]["toSeq"] >= row["seq"] for _, entry in screen.seen[channel]),
        within_s=SEALED_WITHIN_S,
    )
    _, entry = screen.seen[channel][-1]
    kept = entry["data"]

    proof = (await ann.get(f"/audit-logs/{row['id']}/proof?size={kept['toSeq']}")).json()["data"]
    assert json.loads(proof["leaf"]) == row == proof["record"]
    leaf = hashlib.sha256(b"\0" + proof["leaf"].encode()).digest()
    path = [b64decode(found) for found in proof["path"]]
    proving.check_inclusion(leaf, proof["index"], kept["toSeq"], path, b64decode(kept["root"]))
    signed = proof["checkpoint"]
    assert signed == kept
    key = Ed25519PublicKey.from_public_bytes(b64decode(signed["publicKey"]))
    key.verify(b64decode(signed["signature"]), signed["signed"].encode())
    assert signed["signed"].split("\n")[:3] == [f"maycole.audit/{team}", str(kept["toSeq"]), kept["root"]]

    listed = await ann.get("/audit-logs/checkpoints")
    assert kept in listed.json()["data"]
    shown = await ann.get(f"/audit-logs/checkpoints/consistency?from={kept['toSeq']}")
    assert shown.json()["data"]["earlier"] == kept

    file = tmp_path / "checkpoints"
    file.write_text(f"{json.dumps(kept)}\n{listed.text}\n")
    code, said = await command(config, "verify", team, "--checkpoints", str(file))
    assert code == 0, said
    assert f"{team}: intact" in said
    await altered(config, row["id"], "203.0.113.66")
    code, said = await command(config, "verify", team, "--checkpoints", str(file))
    assert code == 1
    assert f"{team}: BAD at row {row['seq']}: the row {row['id']} is not what was sealed" in said
    await altered(config, row["id"], row["ip"])
    assert (await command(config, "verify", team))[0] == 0


async def test_who_may_not_read_the_trail_gets_no_checkpoint_and_no_proof(api: Api) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    rows = (await ann.get("/audit-logs")).json()["data"]
    for path in (
        f"/audit-logs/checkpoints?teamId={ann.personal_team_id}",
        f"/audit-logs/checkpoints/consistency?from=1&teamId={ann.personal_team_id}",
        f"/audit-logs/{rows[0]['id']}/proof?teamId={ann.personal_team_id}",
        f"/audit-logs/{rows[0]['id']}/proof",
    ):
        problem(await eve.get(path), 404, "not_found")
    problem(await ann.get("/audit-logs/aud_01m8be4mdye0gvqx4qd5w2z3c1/proof"), 404, "not_found")
    assert (await ann.get(f"/audit-logs/{rows[0]['id']}/proof?size=0")).status_code == 422


async def test_the_operator_says_how_long_rows_are_kept(api: Api, config: Config, tmp_path: Path) -> None:
    ann = await api.person("Ann")
    team = ann.personal_team_id
    assert await command(config, "keep", team, "90") == (0, f"{team}: audit rows are kept 90 days\n")
    code, said = await command(config, "hold", team)
    assert (code, said.split(" since ")[0]) == (0, f"{team}: held")
    assert await command(config, "release", team) == (0, f"{team}: not held\n")
    assert [row["action"] for row in await actions(ann)][:3] == [
        "audit_logs.released",
        "audit_logs.held",
        "audit_logs.retention_changed",
    ]
    assert (await command(config, "keep", team, "3"))[0] == 1
    assert (await command(config, "hold", "team_01m81nyd49e3dsxyv23q7mwt66"))[0] == 1
    broken = tmp_path / "broken"
    broken.write_text("{}")
    code, said = await command(config, "verify", team, "--checkpoints", str(broken))
    assert code == 1
    assert "line 1: this is no checkpoint" in said


async def actions(reader: Person) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await reader.get("/audit-logs")).json()["data"]
    return data


async def altered(config: Config, row_id: str, ip: str) -> None:
    """What only a superuser can do."""
    connection = await asyncpg.connect(config.database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE audit_logs SET ip = $2 WHERE id = $1", row_id, ip)
    finally:
        await connection.close()
