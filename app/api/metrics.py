"""/api/metrics: what Prometheus scrapes."""

import asyncio
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from app.config import Config
from app.lifespan import Process
from app.metrics.exposition import CONTENT_TYPE, exposed
from app.pipeline.identity import FOR_STAFF, LET_IN
from app.pipeline.policies import NOT_LIMITED
from channels.request_ids import request_id
from domain.actor import Actor, source
from domain.teams import policy


def scraper(request: Request[Any, Any, Any]) -> Actor | None:
    """Who asks from an address in METRICS_ALLOWED stands for staff here, and has no name."""
    config: Config = request.app.state.config
    address = source(request.client.host) if request.client else None
    if not config.eyes.allows(address):
        return None
    return Actor(is_staff=True, ip=address, request_id=request_id(request.scope))


class MetricsController(Controller):
    path = "/api/metrics"
    tags = ("system",)

    @get(
        opt={LET_IN: scraper, **FOR_STAFF, **NOT_LIMITED},
        responses={200: ResponseSpec(str, media_type="text/plain", description="in Prometheus' text format")},
    )
    async def metrics(
        self, caller: NamedDependency[Actor], request: Request[Any, Any, Any]
    ) -> Response[bytes]:
        """What is measured, of all workers together. Staff, or METRICS_ALLOWED."""
        policy.require_staff(caller)
        process: Process = request.app.state.process
        process.gauges.look()
        await process.gauges.ask()
        config: Config = request.app.state.config
        # With several workers it reads their files.
        text = await asyncio.to_thread(exposed, config.eyes.shared_metrics)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})
