"""What the tests of the HTTP surface share."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from domain.actor import Actor
from domain.auth import service as auth
from domain.auth.model import SignedIn
from domain.auth.proofs import Proof
from tests.app.company import Company, company
from tests.app.under_way import Meanwhile
from tests.factories import Api


@pytest.fixture(scope="module")
async def team(api: Api) -> Company:
    """A team with somebody in every role, and a stranger; one for each file."""
    return await company(api)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Have something happen, once, after what was shown was judged and before the session begins."""
    real = auth.signed_in

    def arrange(happens: Callable[[], Awaitable[object]]) -> None:
        async def interrupted(actor: Actor, proof: Proof, **more: Any) -> SignedIn:
            monkeypatch.setattr(auth, "signed_in", real)
            await happens()
            return await real(actor, proof, **more)

        monkeypatch.setattr(auth, "signed_in", interrupted)

    return arrange
