"""The server that a bench measures with: throwaway, with the load's user and table."""

import resource
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from bench import load
from bench.targets import SESSIONS
from tests.servers import MariaDB


@contextmanager
def stage(*options: str, port: int = 0, tls: bool = False) -> Iterator[MariaDB]:
    """Run a MariaDB until the context ends, at any free port if none is given; raises LoadError or ServerError."""
    with ExitStack() as stack:
        encryption = ["--skip-ssl"]
        if tls:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillhere-bench-")))
            encryption = certificate_options(directory)
        common = ("--innodb-buffer-pool-size=256M", f"--max-connections={SESSIONS}", "--max-allowed-packet=16M")
        server = stack.enter_context(MariaDB((*common, *encryption, *options), port=port))
        server.execute(f"CREATE DATABASE {load.DATABASE}")
        for host in ("127.0.0.1", "localhost"):  # over TCP, and over the unix socket
            server.execute(f"CREATE USER {load.USER}@'{host}' IDENTIFIED BY '{load.PASSWORD}'")
            server.execute(f"GRANT ALL ON {load.DATABASE}.* TO {load.USER}@'{host}'")
        load.prepare(server.port)
        yield server


def certificate_options(directory: Path) -> list[str]:
    """Return the options of a server that offers TLS, with a certificate that is made in a directory."""
    pair = trustme.CA().issue_cert("127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    pair.private_key_pem.write_to_path(directory / "key.pem")
    return [f"--ssl-cert={directory / 'cert.pem'}", f"--ssl-key={directory / 'key.pem'}"]


def allow_open_files() -> None:
    """Let this process, and those that it starts, open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
