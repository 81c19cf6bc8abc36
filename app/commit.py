"""Which commit this is: what the builder said, or else what is checked out where the program lies."""

from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"
_HERE: Final = Path(__file__).parents[1]


def commit(built: str | None, *, root: Path = _HERE) -> str:
    """Its hash; UNKNOWN where there is no repository, as in an installed package."""
    return built or _checked_out(root / ".git") or UNKNOWN


def _checked_out(git: Path) -> str | None:
    """What HEAD names. gitrepository-layout(5): a worktree has a file there, and shares its branches."""
    try:
        if git.is_file():
            git = git.parent / git.read_text().removeprefix("gitdir: ").strip()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        said = git / "commondir"
        shared = git / said.read_text().strip() if said.exists() else git
        if (shared / name).exists():
            return (shared / name).read_text().strip()
        packed = (shared / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except OSError:
        return None  # none, or none that may be read
