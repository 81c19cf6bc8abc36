"""What the OpenAPI document says is what the server does, whoever asks: generated requests, never a 5xx.

The short tier is a few requests to each operation, by one caller each; `make surface` (EXAMPLES=…) is every
operation by every caller, with every limit of every field.
"""

import os
from typing import Any

import pytest

from tests.authz.scene import Scene
from tests.surface.asked import CALLERS, FEW, findings, operations

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("caller", CALLERS)
async def test_every_answer_is_one_that_the_document_has(
    scene: Scene, url: str, document: dict[str, Any], caller: str
) -> None:
    every = list(operations(document))
    share = every if EXAMPLES else every[CALLERS.index(caller) :: len(CALLERS)]
    total, wrong = 0, []
    for operation in share:
        asked, found = await findings(scene, document, url, caller, operation, EXAMPLES or FEW)
        total += asked
        wrong += found
    assert total >= len(share)
    assert not wrong, "\n".join(wrong)
