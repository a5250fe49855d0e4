"""Publishing over TLS: the URL says so, and the certificate is checked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from basis_pipeline_tests.builders import payload, wallet
from basis_pipeline_tests.monitors.builders import Subscriber, live
from basis_pipeline_tests.rigs.redis_server import HOST, RedisServer


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@asynccontextmanager
async def tls_in_front(server: RedisServer, files: tuple[Path, Path]) -> AsyncIterator[int]:
    """A port that speaks TLS and passes on to the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(HOST, server.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    listener = await asyncio.start_server(connected, HOST, 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


def test_a_rediss_url_with_password_publishes_over_tls_and_an_unknown_certificate_is_refused(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = certificate(tmp_path)

    async def main() -> None:
        async with tls_in_front(redis_server, files) as port:
            plain = f"rediss://:{redis_server.password}@{HOST}:{port}/0"
            monkeypatch.setenv("BASIS_REDIS_URL", plain)
            with pytest.raises(ValueError, match="Redis cannot be reached"):
                await asyncio.to_thread(live, tmp_path / "home")
            monkeypatch.setenv("BASIS_REDIS_URL", f"{plain}?ssl_ca_certs={files[0]}")
            monitor = await asyncio.to_thread(live, tmp_path / "home")
            with Subscriber(redis_server) as subscriber:
                async with monitor:
                    await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
                    assert subscriber.sequences() == [1, 2]

    asyncio.run(main())
