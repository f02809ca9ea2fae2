"""A byte that somebody changed in a packed file."""

import gzip
import zlib


def flip(raw: bytes, start: int) -> tuple[int, int]:
    """Return where from ``start`` on a byte can be flipped so that it matters, and what stands there then.

    Some bits of a gzip stream mean nothing: what is unpacked is the same as before, and no verifier minds.
    """
    content = gzip.decompress(raw)
    for at in range(start, len(raw)):
        flipped = raw[at] ^ 0x10
        if _content(raw[:at] + bytes([flipped]) + raw[at + 1 :]) != content:
            return at, flipped
    raise ValueError("nothing after that place matters")


def flipped(raw: bytes, start: int) -> bytes:
    """Return it with that byte flipped."""
    at, byte = flip(raw, start)
    return raw[:at] + bytes([byte]) + raw[at + 1 :]


def _content(raw: bytes) -> bytes | None:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error):
        return None
