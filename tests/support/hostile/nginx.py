"""A real nginx in front of the API's Unix socket, as docs/SECURITY.md configures it."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.serving.running_server import SECONDS, free_port, until_closed

CONFIGURATION = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
  log_format upstream escape=json '{{"method":"$request_method","status":"$status",'
                                  '"upstream":"$upstream_status"}}';
  access_log {folder}/access.log upstream;
  keepalive_timeout 1s;
  client_body_timeout 2s;
  client_header_timeout 2s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream api {{ server unix:{api}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_client_certificate {authority};
    ssl_verify_client optional;
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_request_buffering {buffering};
      proxy_set_header connection "";
      proxy_set_header host $host;
      proxy_set_header x-client-certificate-subject $ssl_client_s_dn;
      proxy_set_header x-client-certificate-verified $ssl_client_verify;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx.

    Attributes:
        folder: Of its files.
        port: Without TLS.
        tls_port: With TLS.
    """

    folder: Path
    port: int
    tls_port: int

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes, and return all that comes back until nginx closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as opened:
            opened.sendall(sent)
            return until_closed(opened)

    def forwarded(self) -> list[str]:
        """Return the methods of the requests that it has sent to the API so far."""
        lines = (self.folder / "access.log").read_text().splitlines()
        sent = (each for each in map(json.loads, lines) if each["upstream"] not in {"", "-"})
        return [each["method"] for each in sent]


def program() -> str:
    """Return the path of nginx.

    Raises:
        AssertionError: It is not installed.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert found is not None, "apt-get install nginx-light"
    return found


@contextmanager
def running_nginx(
    folder: Path, api: Path, certificate: Path, key: Path, authority: Path, *, buffering: bool
) -> Iterator[Nginx]:
    """Run nginx in front of a Unix socket.

    Args:
        folder: For its files.
        api: The socket.
        certificate: Its certificate.
        key: The certificate's key.
        authority: CA of its clients' certificates.
        buffering: Whether it reads bodies before it forwards them.
    """
    port, tls_port = free_port(), free_port()
    told = CONFIGURATION.format(
        folder=folder, api=api, port=port, tls_port=tls_port, certificate=certificate, key=key,
        authority=authority, buffering="on" if buffering else "off",
    )  # fmt: skip
    (folder / "nginx.conf").write_text(told)
    command = [program(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with subprocess.Popen(command) as process:  # noqa: S603 the Debian package's program
        try:
            until = time.monotonic() + SECONDS
            while True:
                assert process.poll() is None
                assert time.monotonic() < until
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield Nginx(folder, port, tls_port)
        finally:
            process.terminate()
            process.wait(SECONDS)
