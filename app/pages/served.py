"""Files that pages need, served from memory: there are few, and no address is ever made a path on the disk.

Each file has a route of its own. Whatever else somebody asks for is an unknown address, as everywhere.
"""

import hashlib
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from app.pipeline.etag import is_known
from app.pipeline.policies import NOT_LIMITED

# By how a name ends; a file of another kind ends the start.
TYPES: Final = {".css": "text/css", ".js": "text/javascript", "": "text/plain"}


class File(NamedTuple):
    """What is answered with."""

    body: bytes
    media_type: str
    headers: dict[str, str]


def served(folder: Path, at: str) -> HTTPRouteHandler:
    """The routes of all files of a folder, read now: `<at>/<name>`."""
    files = {f"{at}/{path.name}": _read(path) for path in sorted(folder.iterdir())}

    @get(list(files), opt=NOT_LIMITED, include_in_schema=False)
    async def file(request: Request[Any, Any, Any]) -> Response[bytes]:
        """A file of these pages."""
        found = files[request.scope["path_template"]]
        if is_known(request.scope, found.headers["ETag"]):
            return Response(b"", status_code=304, headers=found.headers)
        return Response(found.body, media_type=found.media_type, headers=found.headers)

    return file


def _read(path: Path) -> File:
    body = path.read_bytes()
    validators = {
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
    }
    return File(body, TYPES[path.suffix], validators)
