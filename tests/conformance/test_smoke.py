"""The JavaScript SDK against the app of this process: the quick part of a judge."""

from pathlib import Path

import pytest

from app.config import Config
from tests.conformance import javascript
from tests.conformance.harness import Broken

QUICK = ("joining", "recovery")


async def test_the_javascript_sdk_connects_follows_and_recovers(
    config: Config, url: str, tmp_path: Path
) -> None:
    try:
        await javascript.installed(tmp_path)
    except Broken as missing:
        pytest.skip(f"{missing}")
    assert config.jwt_secret is not None

    place = javascript.Place(url, url, config.jwt_secret)
    reports = await javascript.run(tmp_path, place, [("websocket-json", theme) for theme in QUICK])

    assert [(report.name, report.failures) for report in reports if report.failures] == []
    assert sum(report.passed for report in reports) >= 13, "there must be tests for this to mean anything"
