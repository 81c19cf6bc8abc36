"""`maycole serve` that remembers no role: each request asks for it."""

from app.cli import main
from domain.teams import policy
from tests.generous import be_generous

if __name__ == "__main__":
    policy.memory.lasts_s = 0.0
    be_generous()
    main()
