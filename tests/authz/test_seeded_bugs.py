"""The matrix finds what it is for: each mistake that is made here on purpose is found, and named."""

from typing import Any

import pytest

from domain import db
from domain.errors import NotFound
from domain.teams import policy
from tests.authz import matrix
from tests.authz.cases import findings, swapped
from tests.authz.scene import Scene

ROUTES = {route.name: route for route in matrix.read().routes}
CHANGE = ROUTES["PATCH /api/inventory/{item_id}"]
ROLE = ROUTES["PUT /api/teams/{team_id}/members/{user_id}"]


@pytest.fixture(autouse=True)
async def sound(scene: Scene) -> None:
    """Before the mistake nothing is found."""
    for caller in ("viewer", "elsewhere", "owner", "key without inventory:write"):
        assert await findings(scene, CHANGE, caller) == []
    assert await swapped(scene, ROLE) == []


async def test_a_right_that_everybody_has(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "grants", lambda role, permission: True)
    found = await findings(scene, CHANGE, "viewer")
    assert any("by viewer on own: expected 403, was answered 200" in one for one in found)
    assert any("refused, and yet changed" in one and "inventory" in one for one in found)


async def test_a_scope_that_nobody_asks_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "require_scope", lambda actor, permission, **more: None)
    found = await findings(scene, CHANGE, "key without inventory:write")
    assert any("on own: expected 403, was answered 200" in one for one in found)


async def test_a_refusal_in_other_words(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real, said = NotFound.of, iter(range(1000))
    monkeypatch.setattr(NotFound, "of", lambda noun: real(f"{noun} ({next(said):03})"))
    assert any("on foreign: told apart" in one for one in await findings(scene, CHANGE, "owner"))
    assert any("on own: told apart" in one for one in await findings(scene, CHANGE, "elsewhere"))
    assert any("with a foreign user_id: told apart" in one for one in await swapped(scene, ROLE))


async def test_a_refusal_that_tells_of_another_tenant(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = NotFound.of
    monkeypatch.setattr(NotFound, "of", lambda noun: real(f"{noun} like {scene.bolt.canary} tea"))
    assert any("in it" in one for one in await findings(scene, CHANGE, "owner"))


async def test_a_refusal_after_the_fact(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = policy.require

    async def late(actor: Any, team_id: str, permission: str, **more: Any) -> Any:
        await db.execute("UPDATE teams SET version = version + 1 WHERE id = $1", team_id)
        return await real(actor, team_id, permission, **more)

    monkeypatch.setattr(policy, "require", late)
    found = await findings(scene, ROUTES["GET /api/audit-logs"], "member")
    assert any("refused, and yet changed: teams" in one for one in found)
