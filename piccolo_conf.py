"""Where Piccolo looks: `piccolo migrations new maycole --auto` and the migrations of `maycole migrate`."""

from piccolo.conf.apps import AppRegistry

from app.config import database_url
from domain.db import engine as DB  # noqa: N812 - the name that Piccolo looks for

# For Piccolo's own command line; the server gives the engine its URL when it opens the pool.
if not DB.config:
    DB.config = {"dsn": database_url()}

APP_REGISTRY = AppRegistry(apps=["domain.piccolo_app"])
