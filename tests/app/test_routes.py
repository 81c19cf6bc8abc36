"""The routes that exist are the ones that the contract names (API.md, "Routes")."""

from litestar.routes import HTTPRoute

from app.config import Config
from app.main import create_app

# The lines of API.md for the slices that exist so far; a route that is added there or here is added to both.
CONTRACT = """
POST   /api/auth/register
POST   /api/auth/login
POST   /api/auth/logout
POST   /api/auth/refresh
GET    /api/users/me
PATCH  /api/users/me
DELETE /api/users/me
GET    /api/users/me/profile
PUT    /api/users/me/profile
POST   /api/users/me/export
GET    /api/users
PATCH  /api/users/{user_id}
GET    /api/users/{user_id}
POST   /api/teams
GET    /api/teams
GET    /api/teams/{team_id}
PUT    /api/teams/{team_id}
DELETE /api/teams/{team_id}
POST   /api/teams/{team_id}/restore
POST   /api/teams/{team_id}/transfer
GET    /api/teams/{team_id}/transfer
DELETE /api/teams/{team_id}/transfer
POST   /api/teams/{team_id}/transfer/accept
POST   /api/teams/{team_id}/transfer/decline
POST   /api/teams/{team_id}/members
GET    /api/teams/{team_id}/members
PUT    /api/teams/{team_id}/members/{user_id}
DELETE /api/teams/{team_id}/members/{user_id}
GET    /api/teams/{team_id}/roles
POST   /api/teams/{team_id}/roles
PUT    /api/teams/{team_id}/roles/{role}
DELETE /api/teams/{team_id}/roles/{role}
GET    /api/teams/{team_id}/invites
POST   /api/teams/{team_id}/invites
DELETE /api/teams/{team_id}/invites/{invite_id}
POST   /api/teams/{team_id}/invites/{invite_id}/resend
POST   /api/invites/accept
POST   /api/invites/decline
POST   /api/invites/ask-again
GET    /api/inventory
POST   /api/inventory
GET    /api/inventory/{item_id}
PUT    /api/inventory/{item_id}
PATCH  /api/inventory/{item_id}
DELETE /api/inventory/{item_id}
POST   /api/inventory/{item_id}/adjust
GET    /api/inventory/{item_id}/movements
GET    /api/auth/sessions
DELETE /api/auth/sessions/{session_id}
POST   /api/auth/verify-email
POST   /api/auth/verify-email/resend
POST   /api/auth/password/forgot
POST   /api/auth/password/reset
POST   /api/auth/password/change
POST   /api/auth/magic-link
POST   /api/auth/magic-link/consume
POST   /api/auth/email/confirm
POST   /api/auth/email/revert
POST   /api/auth/sessions/disown
POST   /api/auth/ways-in/undo
POST   /api/users/me/email
GET    /api/auth/api-keys
POST   /api/auth/api-keys
PATCH  /api/auth/api-keys/{key_id}
DELETE /api/auth/api-keys/{key_id}
POST   /api/auth/api-keys/{key_id}/rotate
GET    /api/auth/oauth/{provider}/start
GET    /api/auth/oauth/{provider}/callback
POST   /api/auth/oauth/{provider}/link
POST   /api/auth/oauth/exchange
GET    /api/auth/identities
DELETE /api/auth/identities/{identity_id}
GET    /api/auth/mfa
POST   /api/auth/mfa/totp
POST   /api/auth/mfa/totp/confirm
DELETE /api/auth/mfa/totp
POST   /api/auth/mfa/recovery-codes
POST   /api/auth/mfa/verify
POST   /api/auth/mfa/step-up/options
POST   /api/auth/mfa/step-up
POST   /api/auth/passkeys/register/options
POST   /api/auth/passkeys/register/verify
POST   /api/auth/passkeys/login/options
POST   /api/auth/passkeys/login/verify
GET    /api/auth/passkeys
PATCH  /api/auth/passkeys/{passkey_id}
DELETE /api/auth/passkeys/{passkey_id}
GET    /api/audit-logs
GET    /api/audit-logs/checkpoints
GET    /api/audit-logs/checkpoints/consistency
GET    /api/audit-logs/{row_id}/proof
GET    /api/health
GET    /api/health/live
GET    /api/health/ready
GET    /api/metrics
GET    /api/version
GET    /api/_router
"""
PAGES = {
    "GET /api/docs",
    "GET /api/docs/openapi.json",
    "GET /api/docs/live",
    "GET /api/docs/asyncapi.json",
}
# Where links in mails lead.
LINKED = {
    f"GET /auth/{page}"
    for page in (
        "verify-email", "reset-password", "forgot-password", "magic-link", "confirm-email", "revert-email",
        "disown-session", "undo-way-in", "team-invite", "sign-in",
    )
}  # fmt: skip
# What opens a websocket goes another way (app/pipeline/door.py).
LIVE = {
    "POST /connection/http_stream",
    "GET /connection/sse",
    "GET /connection/uni_sse",
    "GET /connection/websocket",
    "POST /emulation",
}


def routes() -> tuple[set[str], set[str]]:
    """The routes of the application: those of the API, and those that are pages and files."""
    app = create_app(Config(database_url="postgresql://", redis_url="redis://", jwt_secret="x" * 32))
    api, pages = set(), set()
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    kind = api if handler.resolve_include_in_schema() else pages
                    kind.add(f"{method} {route.path_format}")
    return api, pages


def test_every_route_is_in_the_contract_and_every_one_of_the_contract_is_there() -> None:
    there, pages = routes()
    promised = {" ".join(line.split()) for line in CONTRACT.strip().splitlines()}
    assert len(promised) > 20
    assert there == promised
    assert pages >= PAGES
    others = {page for page in pages if not page.startswith("GET /api/docs")}
    assert others == LIVE | LINKED | {
        "GET /auth/files/page.css",
        "GET /auth/files/page.js",
    }
