"""/api/metrics: what Prometheus scrapes."""

import asyncio
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.openapi.datastructures import ResponseSpec

from app.config import Config
from app.lifespan import Process
from app.metrics.exposition import CONTENT_TYPE, exposed
from app.pipeline.identity import signed_in
from domain.actor import source
from domain.errors import Forbidden


class MetricsController(Controller):
    path = "/api/metrics"
    tags = ("system",)

    @get(
        responses={
            200: ResponseSpec(
                str, media_type="text/plain", description="Prometheus text, all workers' together"
            )
        },
    )
    async def metrics(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """What is measured, for Prometheus. Staff, or addresses in METRICS_ALLOWED."""
        config: Config = request.app.state.config
        if not config.eyes.allows(source(request.client.host) if request.client else None):
            caller = await signed_in(request)
            if not caller.is_staff:
                raise Forbidden("This is for the platform's staff.", code="staff_only")
        process: Process = request.app.state.process
        process.gauges.look()
        await process.gauges.ask()
        # With several workers it reads their files.
        text = await asyncio.to_thread(exposed, config.eyes.shared_metrics)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})
