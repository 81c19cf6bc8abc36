"""Sessions: staying signed in, seeing where one is, signing out."""

import asyncio
from collections.abc import Callable

import pytest

from domain import db
from domain.auth import sessions
from tests.app.company import bare, problem
from tests.app.signing_in import login, refresh, signed_in
from tests.conftest import SECRET
from tests.factories import PASSWORD, Api


async def test_a_refresh_token_works_once(api: Api) -> None:
    ann = await api.person()
    first = (await refresh(api, ann.refresh_token)).json()["data"]
    second = (await refresh(api, first["refreshToken"])).json()["data"]
    assert len({ann.refresh_token, first["refreshToken"], second["refreshToken"]}) == 3
    assert first["sessionId"] == second["sessionId"] == ann.session_id
    for token in (ann.token, first["accessToken"], second["accessToken"]):
        assert await signed_in(api, token), "refreshing ends no access token of the session"


async def test_a_refresh_token_used_again_later_ends_the_session_and_everything_made_from_it(
    api: Api,
) -> None:
    ann = await api.person()
    elsewhere = (await login(api, ann.email)).json()["data"]
    new = (await refresh(api, ann.refresh_token)).json()["data"]
    assert await signed_in(api, new["accessToken"])
    await db.execute(
        "UPDATE user_sessions SET rotated_at = rotated_at - $2::interval WHERE id = $1",
        ann.session_id,
        sessions.TOGETHER_WITHIN,
    )

    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")

    assert not await signed_in(api, ann.token)
    assert not await signed_in(api, new["accessToken"])
    problem(await refresh(api, new["refreshToken"]), 401, "invalid_refresh_token")
    assert await signed_in(api, elsewhere["accessToken"]), "another session is another matter"


async def test_a_refresh_token_from_long_ago_ends_the_session_too(api: Api) -> None:
    ann = await api.person()
    newest = ann.refresh_token
    for _ in range(3):
        newest = (await refresh(api, newest)).json()["data"]["refreshToken"]
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")
    problem(await refresh(api, newest), 401, "invalid_refresh_token")


async def test_all_who_refresh_with_one_token_at_once_receive_the_same_pair(api: Api) -> None:
    ann = await api.person()
    answers = await asyncio.gather(*(refresh(api, ann.refresh_token) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    pairs = {
        (answer.json()["data"]["accessToken"], answer.json()["data"]["refreshToken"]) for answer in answers
    }
    assert len(pairs) == 1, "one new pair, whoever comes first"
    [(access, following)] = pairs
    assert following != ann.refresh_token
    assert await signed_in(api, access)
    assert (await refresh(api, following)).status_code == 200, "and it goes on from there"


async def test_who_asked_again_because_the_answer_was_lost_is_not_signed_out_by_a_new_secret(
    api: Api, rotate: Callable[..., None]
) -> None:
    ann = await api.person()
    pair = (await refresh(api, ann.refresh_token)).json()["data"]
    rotate("a secret that has just been put in place", SECRET)
    again = await refresh(api, ann.refresh_token)
    assert again.json()["data"]["refreshToken"] == pair["refreshToken"]


async def test_sessions_are_listed_and_ended_one_by_one(api: Api) -> None:
    ann, ben = await api.person(), await api.person("Ben")
    phone = await api.call(
        "POST",
        "/auth/login",
        json={"email": ann.email, "password": PASSWORD},
        headers={"User-Agent": "Phone/1"},
    )
    phone_id = phone.json()["data"]["sessionId"]
    listed = (await ann.get("/auth/sessions")).json()["data"]
    assert [(session["id"], session["current"]) for session in listed] == [
        (phone_id, False),
        (ann.session_id, True),
    ]
    assert listed[0]["userAgent"] == "Phone/1"
    assert listed[0]["ip"] == "127.0.0.1"
    assert listed[0]["amr"] == ["pwd"]
    absent = await ben.delete(f"/auth/sessions/{phone_id.replace('sess_', 'sess_1')}")
    assert bare(await ben.delete(f"/auth/sessions/{phone_id}")) == bare(absent)
    assert (await ann.delete(f"/auth/sessions/{phone_id}")).status_code == 204
    assert not await signed_in(api, phone.json()["data"]["accessToken"])
    problem(await ann.delete(f"/auth/sessions/{phone_id}"), 404, "not_found")
    assert [session["id"] for session in (await ann.get("/auth/sessions")).json()["data"]] == [ann.session_id]


async def test_a_list_of_many_sessions_has_pages(api: Api) -> None:
    ann = await api.person()
    for _ in range(4):
        await login(api, ann.email)
    first = (await ann.get("/auth/sessions?limit=3")).json()
    rest = (await ann.get(f"/auth/sessions?limit=3&cursor={first['nextCursor']}")).json()
    assert (len(first["data"]), len(rest["data"]), rest["nextCursor"]) == (3, 2, None)
    assert rest["data"][-1]["id"] == ann.session_id


async def test_logging_out_the_others_or_everywhere(api: Api) -> None:
    ann = await api.person()
    one, other = [(await login(api, ann.email)).json()["data"] for _ in range(2)]
    assert (await ann.post("/auth/logout?scope=others")).status_code == 204
    assert [await signed_in(api, each["accessToken"]) for each in (one, other)] == [False, False]
    assert await signed_in(api, ann.token)
    back = (await login(api, ann.email)).json()["data"]
    assert (await ann.post("/auth/logout?scope=all")).status_code == 204
    assert [await signed_in(api, token) for token in (back["accessToken"], ann.token)] == [False, False]
    problem(await ann.post("/auth/logout?scope=some"), 401, "session_over")


@pytest.mark.parametrize("token", ["mrt_nonsense", "x", "", "mrt_" + "x" * 300, "' OR 1=1 --", "ü"])
async def test_a_made_up_refresh_token_is_refused(api: Api, token: str) -> None:
    assert (await refresh(api, token)).status_code in (401, 422)


async def test_logging_out_ends_this_session_at_once_and_no_other(api: Api) -> None:
    ann = await api.person()
    other = (await login(api, ann.email)).json()["data"]
    assert await signed_in(api, ann.token)
    left = await ann.post("/auth/logout")
    assert (left.status_code, left.content) == (204, b"")
    problem(await ann.get("/users/me"), 401, "session_over")
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")
    problem(await ann.post("/auth/logout"), 401, "session_over")
    assert await signed_in(api, other["accessToken"])
