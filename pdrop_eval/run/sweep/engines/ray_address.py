"""Whether a Ray cluster answers at an address: Ray itself tries for minutes, so it is asked first."""

import os
import socket
import subprocess
import sys
import tempfile

from pdrop_eval.utils.errors import UserError

_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
# Ray's own client, in a process that can be ended: by itself it tries for a minute, and tells of each try. A
# version of Ray without it is not asked.
_ASK = """
import sys
try:
    from ray._raylet import GcsClient
except ImportError:
    sys.exit(0)
print("ready", flush=True)
GcsClient(address=sys.argv[1])
"""
# How HTTP/2 begins, which gRPC speaks and Ray with it: the preface, and a frame of settings without any.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4  # the kind of the frame that it answers with


def check_address(address: str) -> None:
    """Refuse an address that isn't one, or where no cluster answers within seconds.

    Args:
        address: `auto`, the cluster that is there (by RAY_ADDRESS, or on this machine), or `host:port`.

    Raises:
        UserError: With the reason.
    """
    asked = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if not asked or asked == "auto":
        if not _is_here():
            raise UserError(
                "address=auto finds no Ray cluster on this machine. Start one (ray start --head), name "
                "another one, address=host:port, or leave address out for one of this machine's own."
            )
        return
    host, _, port = asked.rpartition(":")
    if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(
            f"address={asked} is no address of a Ray cluster. Write host:port, as in address=10.0.0.1:6379, "
            "or address=auto for the one that is there."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
                _check_speaks(connection)
        _check_answers(asked)
    except OSError as error:
        raise UserError(
            f"No Ray cluster answers at address={asked}: {error}. Start one there (ray start --head), name "
            "another one, or leave address out for one of this machine's own."
        ) from error


def _is_here() -> bool:
    """Whether Ray finds a cluster on this machine; true where its version can't be asked."""
    try:
        from ray._private.services import find_gcs_addresses
    except ImportError:
        return True
    return bool(find_gcs_addresses())


def _check_speaks(connection: socket.socket) -> None:
    """Raises OSError if what listens there doesn't speak Ray's protocol."""
    connection.settimeout(_SECONDS)
    connection.sendall(_HELLO)
    head = b""
    while len(head) < 9:
        part = connection.recv(9 - len(head))
        if not part:
            raise OSError("what listens there is no Ray")
        head += part
    if head[3] != _SETTINGS:
        raise OSError("what listens there is no Ray")


def _check_answers(address: str) -> None:
    """Raises OSError if no Ray cluster answers there, and UserError if one does that wants a token."""
    environment = {**os.environ, "RAY_BACKEND_LOG_LEVEL": "warning"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        command = [sys.executable, "-c", _ASK, address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environment) as asking:
            assert asking.stdout is not None
            asking.stdout.readline()  # importing Ray may take long on a busy machine
            try:
                joined = asking.wait(_ANSWER_SECONDS) == 0
            except subprocess.TimeoutExpired:
                joined = False
            finally:
                asking.kill()
        said.seek(0)
        words = said.read()
    if "AuthToken" in words or "nauthenticated" in words:
        raise UserError(
            f"The Ray cluster at address={address} wants a token. Set RAY_AUTH_MODE=token, with its token "
            "in RAY_AUTH_TOKEN or ~/.ray/auth_token on this machine; ray start writes it there on its own."
        )
    if not joined:
        raise OSError("what listens there is no Ray, or of another version")
