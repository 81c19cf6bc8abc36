"""`maycole demo`: two users, a team, items, and a gentle stream of changes, through the public API."""

import json
import random
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final

from app.failed import CommandFailed

Say = Callable[[str], None]

ANSWER_WITHIN_S: Final = 10
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - it is printed for people to sign in with
ITEMS: Final = ("Coffee beans", "Filter paper", "Oat milk", "Mugs", "Teaspoons")


class DemoFailed(CommandFailed):
    """What the server answered."""


def demo(url: str, *, every_s: float, changes: int | None, say: Say) -> None:
    """Set the scene on the server at `url` and change stock until stopped (or for so many changes).

    Raises DemoFailed.
    """
    run = secrets.token_hex(3)
    ann = _call(url, "POST", "/api/auth/register", _person("Ann", run))["data"]
    bob = _call(url, "POST", "/api/auth/register", _person("Bob", run))["data"]
    token = ann["accessToken"]
    team = _call(url, "POST", "/api/teams", {"name": "Coffee corner"}, token)["teamId"]
    _call(url, "POST", f"/api/teams/{team}/members", {"userId": bob["user"]["id"], "role": "viewer"}, token)
    items = [
        _call(url, "POST", "/api/inventory", {"name": name, "quantity": 100, "teamId": team}, token)["data"][
            "id"
        ]
        for name in ITEMS
    ]
    say(f"Ann   {ann['user']['email']}, owner of the team   password: {PASSWORD}")
    say(f"Bob   {bob['user']['email']}, viewer")
    say(f"team  {team}")
    say(f"follow inventory:{team} with Bob's access token:\n\n{bob['accessToken']}\n")
    _change_stock(url, ann, items, every_s=every_s, changes=changes, say=say)


def _change_stock(
    url: str, ann: dict[str, Any], items: list[str], *, every_s: float, changes: int | None, say: Say
) -> None:
    made, refresh_at = 0, time.monotonic() + ann["expiresIn"] / 2
    while changes is None or made < changes:
        if time.monotonic() > refresh_at:
            ann = _call(url, "POST", "/api/auth/refresh", {"refreshToken": ann["refreshToken"]})["data"]
            refresh_at = time.monotonic() + ann["expiresIn"] / 2
        delta = random.choice((-3, -2, -1, 1, 2, 3))  # noqa: S311 - a demonstration
        body = {"delta": delta, "reason": "sold" if delta < 0 else "delivered"}
        path = f"/api/inventory/{random.choice(items)}/adjust"  # noqa: S311 - a demonstration
        item = _call(url, "POST", path, body, ann["accessToken"])["data"]
        say(f"{item['name']:<14} {delta:+d} -> {item['quantity']}")
        made += 1
        time.sleep(every_s)


def _person(name: str, run: str) -> dict[str, str]:
    return {"name": name, "email": f"{name.lower()}-{run}@demo.example", "password": PASSWORD}


def _call(url: str, method: str, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)  # noqa: S310 - the operator names the server
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310 - see above
            decoded: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as refused:
        raise DemoFailed(f"{method} {path} answered {refused.code}: {refused.read().decode()}") from refused
    except urllib.error.URLError as unreachable:
        raise DemoFailed(
            f"no server at {url} ({unreachable.reason}): start one with `maycole up`"
        ) from unreachable
    return decoded
