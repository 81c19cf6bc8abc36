"""Signing in over HTTP, and whether a token still does."""

import httpx

from tests.factories import PASSWORD, Api


async def login(api: Api, email: str, password: str = PASSWORD) -> httpx.Response:
    return await api.call("POST", "/auth/login", json={"email": email, "password": password})


async def refresh(api: Api, token: str) -> httpx.Response:
    return await api.call("POST", "/auth/refresh", json={"refreshToken": token})


async def signed_in(api: Api, token: str) -> bool:
    answer = await api.call("GET", "/users/me", token=token)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200
