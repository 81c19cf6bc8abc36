"""create_app(): read this first.

A request passes app/pipeline/ (one file a step), one method in app/api/, and one verb in domain/. A committed
change goes from domain/record.py to the log, and from there through channels/ to every open screen that may
see it.
"""

from typing import Any, Final

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from app import config as configuration
from app import logs
from app.adapters.oauth import Providers
from app.adapters.outgoing import Outgoing
from app.api import docs
from app.api.api_keys import ApiKeysController
from app.api.audit_logs import AuditLogsController
from app.api.auth import AuthController
from app.api.checkpoints import CheckpointsController
from app.api.inventory import InventoryController
from app.api.invites import InvitesController, TeamInvitesController
from app.api.mails import EmailController, MailsController
from app.api.metrics import MetricsController
from app.api.mfa import MfaController
from app.api.oauth import OauthController
from app.api.passkeys import PasskeysController
from app.api.roles import RolesController
from app.api.router import RouterController
from app.api.system import SystemController
from app.api.teams import TeamsController
from app.api.users import UsersController
from app.config import NEEDED, Config
from app.health import Checks, watching
from app.lifespan import lifespan
from app.pages import mail_pages
from app.pipeline import body, idempotency, policies, positions, versions
from app.pipeline.answer import Answer
from app.pipeline.bounds import bounded
from app.pipeline.cors import Cors
from app.pipeline.door import at_the_door
from app.pipeline.errors import HANDLERS
from app.pipeline.etag import provide_if_version
from app.pipeline.hosts import hosts
from app.pipeline.identity import provide_actor, provide_caller
from app.pipeline.limits import admit
from app.pipeline.load import Load
from app.pipeline.policies import Limits
from app.pipeline.proxies import Proxies
from app.pipeline.seen import seen
from app.pipeline.stamp import stamping
from channels.emulation import emulation
from channels.endpoint import websocket
from channels.events import connection_uni_sse
from channels.gate import Gate
from channels.http_stream import connection_http_stream, connection_sse
from channels.no_upgrade import connection_websocket

ROUTES: Final[tuple[ControllerRouterHandler, ...]] = (
    AuthController,
    MailsController,
    EmailController,
    ApiKeysController,
    OauthController,
    MfaController,
    PasskeysController,
    UsersController,
    TeamsController,
    RolesController,
    TeamInvitesController,
    InvitesController,
    InventoryController,
    AuditLogsController,
    CheckpointsController,
    SystemController,
    MetricsController,
    RouterController,
    connection_http_stream,
    connection_sse,
    connection_uni_sse,
    connection_websocket,
    emulation,
    docs.asyncapi_document,
    docs.live_channels,
    docs.files,
    mail_pages.page,
    mail_pages.files,
)


def create_app(
    config: Config | None = None, *, gate: Gate | None = None, limits: Limits | None = None
) -> Litestar:
    """The ASGI application.

    Without a config it is read from the environment, which must have all of NEEDED. `gate` and `limits`
    are for tests, of channels of their own and of asking often; no configuration leads to either.
    """
    config = config or configuration.read(need=NEEDED)
    logs.install(config.log_level)
    outgoing, load, cors = Outgoing(), Load(), Cors(config.allowed_origins)
    is_secure = (config.public_url or "").startswith("https://")
    app = Litestar(
        route_handlers=ROUTES,
        request_class=body.HardenedRequest,
        response_class=Answer,
        request_max_body_size=body.BODY_BYTES_MAX,
        middleware=[bounded(load)],
        before_request=_before,
        before_send=[stamping(cors, is_secure=is_secure)],
        dependencies={
            "actor": Provide(provide_actor),
            "caller": Provide(provide_caller),
            "if_version": Provide(provide_if_version),
        },
        exception_handlers=HANDLERS,
        openapi_config=docs.openapi(),
        lifespan=[lifespan, watching],
        state=State(
            {
                "config": config,
                "is_secure": is_secure,
                "gate": gate or Gate(),
                "limits": limits or policies.LIMITS,
                "load": load,
                "checks": Checks(),
                "outgoing": outgoing,
                "oauth": Providers(config.oauth, config.public_url, config.allowed_origins, outgoing),
            }
        ),
        logging_config=None,
    )
    idempotency.install(app)
    door = at_the_door(app.asgi_handler, websocket, hosts(config), cors)
    app.asgi_handler = Proxies(config.trusted_proxies).before(seen(door))
    return app


async def _before(request: Request[Any, Any, Any]) -> None:
    positions.begin(request)
    await admit(request)
    await versions.choose(request)
    await body.refuse_bad_text(request)
    idempotency.notice(request)
    await body.refuse_nothing(request)
