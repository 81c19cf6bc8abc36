"""centrifuge-python's own tests, unmodified, against our test profile.

The source distribution is fetched by pip, which checks its hash, and its `python -m unittest
tests.test_client` runs from where it was unpacked. The suite hard-codes localhost:8000, the secret `secret`
and open channels, so what it meets there is a profile of ours (profile.py) that no production configuration
can reach; the connection, the formats and the log behind it are the shipped ones.
"""

import asyncio
import base64
import hashlib
import hmac
import importlib.util
import json
import re
import socket
import sys
import tarfile
from pathlib import Path
from typing import Final

import httpx
import websockets

from tests.conformance.harness import Broken, Child, Verdict, child, configured, module
from tests.processes import environment

PACKAGE: Final = "centrifuge-python==0.7.0"
SHA256: Final = "11252b45c3f6b6104cfb07fb0fcfc9d2d62832d2af14715dd16fdc5e9c6e5964"
HOST: Final = "localhost"
PORT: Final = 8000
TESTS: Final = 62
FETCHED_WITHIN_S: Final = 120.0
ALL_WITHIN_S: Final = 300.0
UP_WITHIN_S: Final = 30.0


async def judge(ground: Path) -> Verdict:
    """The tests of the suite that passed, of 62."""
    if importlib.util.find_spec("tests.conformance.profile") is None:
        raise Broken("the test profile, tests/conformance/profile.py, is not there yet")
    _port_is_free()
    suite = await _fetched(ground)
    async with (
        configured(ground) as config,
        child(
            "the profile",
            *module("profile"),
            ground=ground,
            env={**environment(config, port=PORT), "HOST": HOST},
        ) as server,
    ):
        await _ours_answers(server)
        verdict = await _run(ground, suite)
        if not server.running:
            verdict.notes.append("the profile died on the way")
        verdict.heard(server)
    return verdict


def _port_is_free() -> None:
    for family, _, _, _, where in socket.getaddrinfo(HOST, PORT, type=socket.SOCK_STREAM):
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.settimeout(5)
            if trial.connect_ex(where) == 0:
                raise Broken(f"somebody else serves on {where[0]}:{PORT}, where the suite wants us")


async def _fetched(ground: Path) -> Path:
    """The unpacked distribution."""
    wanted = ground / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    options = ("--no-binary", ":all:", "--require-hashes", "--dest", ground / "sdist", "-r", wanted)
    async with child("pip", *fetch, *options, ground=ground) as pip:
        status, _ = await pip.ended(FETCHED_WITHIN_S)
        if status:
            raise Broken(f"pip could not fetch {PACKAGE}:\n{pip.errors()[-2000:]}")
    [archive] = (ground / "sdist").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(ground / "suite", filter="data")
    [suite] = (ground / "suite").iterdir()
    return suite


async def _ours_answers(server: Child) -> None:
    """Wait until the server answers; what answers must call itself Maycole, while our process lives."""
    url = f"ws://{HOST}:{PORT}/connection/websocket"
    async with asyncio.timeout(UP_WITHIN_S):
        while not await _listens():
            if not server.running:
                raise Broken(f"the profile has ended:\n{server.errors()[-2000:]}")
            await asyncio.sleep(0.1)
        try:
            async with websockets.connect(url) as client:
                await client.send(json.dumps({"id": 1, "connect": {"token": _token("42")}}))
                answer = json.loads(await client.recv())["connect"]
        except (websockets.WebSocketException, ValueError, KeyError) as other:
            raise Broken(f"what answers at {url} does not let user 42 connect: {other!r}") from other
    if not str(answer.get("version")).startswith("maycole ") or not server.running:
        raise Broken(f"the server at {url} is not ours: {answer}")


async def _listens() -> bool:
    try:
        async with httpx.AsyncClient(timeout=5) as http:
            await http.get(f"http://{HOST}:{PORT}/connection/websocket")
    except httpx.TransportError:
        return False
    return True


def _token(user: str) -> str:
    """Signed as the suite signs its own; the secret is too short for any library to agree to."""
    parts = ({"typ": "JWT", "alg": "HS256"}, {"sub": user})
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(hmac.new(b'secret', signed.encode(), hashlib.sha256).digest())}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def _run(ground: Path, suite: Path) -> Verdict:
    run = (sys.executable, "-m", "unittest", "-v", "tests.test_client")
    async with child("the suite", *run, ground=ground, cwd=suite) as tests:
        try:
            await tests.ended(ALL_WITHIN_S)
        except Broken:
            return hung(tests.errors())
        return counted(tests.errors())


def counted(log: str) -> Verdict:
    """What unittest says at its end. A test that fails in several subtests is named for each, and is one."""
    ran = re.search(r"^Ran (\d+) tests? in ", log, re.MULTILINE)
    if ran is None:
        return Verdict(0, TESTS, [f"the suite ended without a summary: {log[-500:]}"])
    failed = dict.fromkeys(re.findall(r"^(?:FAIL|ERROR): \w+ \(([\w.]+)\)", log, re.MULTILINE))
    odd = sum(
        map(int, re.findall(r"(?:skipped|expected failures|unexpected successes)=(\d+)", log[ran.end() :]))
    )
    verdict = Verdict(max(0, int(ran[1]) - len(failed) - odd), TESTS, [f"failed: {name}" for name in failed])
    if int(ran[1]) != TESTS or odd:
        verdict.notes.append(f"the suite ran {ran[1]} tests; {odd} were skipped or otherwise odd")
    return verdict


def hung(log: str) -> Verdict:
    """The suite waits without a limit for much: what passed before, and where it hung."""
    began = re.findall(r"^\w+ \(([\w.]+)\)(?:\n.*)? \.\.\. ", log, re.MULTILINE)
    passed = len(re.findall(r"^(?:.* \.\.\. )?ok$", log, re.MULTILINE))
    where = began[-1] if began else "before the first test"
    return Verdict(passed, TESTS, [f"the suite did not end within {ALL_WITHIN_S:.0f} s; it hung in {where}"])
