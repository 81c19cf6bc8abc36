"""`maycole serve` that remembers no role: each request asks for it."""

from app.cli import main
from domain.teams import policy

if __name__ == "__main__":
    policy.memory.lasts_s = 0.0
    main()
