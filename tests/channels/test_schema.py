"""channels/client_pb2.py is what protoc makes of channels/client.proto: nobody edits it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_generated_code_is_that_of_the_schema(tmp_path: Path) -> None:
    given = ["-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "channels/client.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *given], cwd=ROOT, check=True)

    for name in ("client_pb2.py", "client_pb2.pyi"):
        made = (tmp_path / "channels" / name).read_text()
        assert made == (ROOT / "channels" / name).read_text(), "run `make proto`"
