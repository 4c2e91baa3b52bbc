# SPDX-License-Identifier: Apache-2.0
"""Key, certificate and CA of ``ssl:`` connections, from the command line or from the database.

They count for the whole process, as in the ``ovs`` package, and are read at each connection: a file
that was renewed is used from the next one on.
"""

import errno
import os
import ssl
from dataclasses import dataclass

import ovs.stream
import ovs.vlog

__all__ = ["TlsFiles", "give_tls_files", "offer_tls_files"]

_log = ovs.vlog.Vlog("ovsdb")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths; None where there is none."""

    private_key: str | None = None
    certificate: str | None = None
    ca_cert: str | None = None


_given = TlsFiles()


def give_tls_files(files: TlsFiles) -> None:
    """Use the files that the command line names; they win over those of the database."""
    global _given  # noqa: PLW0603 - the ovs package has one set of files per process
    _given = files
    offer_tls_files(TlsFiles())


def offer_tls_files(files: TlsFiles) -> None:
    """Use the files that the database names where the command line names none.

    Key and certificate go together (ovn-controller(8), table SSL).
    """
    pair = _given if _given.private_key and _given.certificate else files
    stream = ovs.stream.Stream
    stream.ssl_set_private_key_file(pair.private_key)
    stream.ssl_set_certificate_file(pair.certificate)
    stream.ssl_set_ca_cert_file(_given.ca_cert or files.ca_cert)


class _TlsStream(ovs.stream.SSLStream):  # type: ignore[misc]  # no types in ovs
    """A stream that refuses to connect without usable files instead of raising."""

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, object]:
        stream = ovs.stream.Stream
        files = {
            "private key": stream._SSL_private_key_file,  # noqa: SLF001 - no public way
            "certificate": stream._SSL_certificate_file,  # noqa: SLF001
            "CA certificate": stream._SSL_ca_cert_file,  # noqa: SLF001
        }
        problems = [
            f"{name}: {path or 'none given'}"
            for name, path in files.items()
            if path is None or not os.access(path, os.R_OK)
        ]
        try:
            if not problems:
                code, connection = ovs.stream.SSLStream._open(suffix, dscp)  # noqa: SLF001
                return code, connection
        except (ssl.SSLError, OSError) as error:
            problems = [str(error)]
        _log.warn(f"tls_unusable remote=ssl:{suffix} reason={'; '.join(problems)!r}")
        return errno.EINVAL, None


ovs.stream.Stream.register_method("ssl", _TlsStream)
