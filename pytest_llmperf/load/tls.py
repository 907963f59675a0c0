"""TLS above one's own reads, so that the stamps are taken below it."""

from __future__ import annotations

import ssl

_READ_BYTES = 32 * 1024


class Tls:
    """The client's side of one TLS connection, over bytes that somebody else moves."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self.is_closed = False
        self.problem: str | None = None

    def pending(self) -> bytes:
        """What has to be sent now."""
        return self._outgoing.read()

    def shake_hands(self, data: bytes) -> bool:
        """Feed the handshake; True when it is complete. Raises :class:`ssl.SSLError`."""
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: bytes) -> bytes:
        self._object.write(data)
        return self.pending()

    def decrypt(self, data: bytes) -> bytes:
        """All plain bytes that are complete with ``data``; ``is_closed`` and ``problem`` tell of an end."""
        self._incoming.write(data)
        plain = []
        try:
            while piece := self._object.read(_READ_BYTES):
                plain.append(piece)
            self.is_closed = True
        except ssl.SSLWantReadError:
            pass  # the rest of the record has not arrived yet
        except ssl.SSLZeroReturnError:
            self.is_closed = True
        except ssl.SSLError as error:
            self.problem = str(error)
        return b"".join(plain)
