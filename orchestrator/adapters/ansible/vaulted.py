"""Single values that ansible-vault encrypted (format 1.1 and 1.2, AES256), opened in memory.

The format: a header line, then hexadecimal of three lines of hexadecimal (salt, HMAC, ciphertext); keys come from
PBKDF2-HMAC-SHA256 with 10,000 rounds; AES-256 in counter mode, PKCS#7 padding; the HMAC is over the ciphertext.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import unhexlify

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from orchestrator.domain.inventory import Secret
from orchestrator.errors import InvalidInput

_HEADER = "$ANSIBLE_VAULT;"


def is_vaulted(text: str) -> bool:
    """Tell whether this text is the whole of a vaulted value or file."""
    return text.lstrip().startswith(_HEADER)


def opened(text: str, password: Secret) -> Secret:
    """Return what the vaulted text holds. Raises InvalidInput, which never shows any of it."""
    if not password:
        raise InvalidInput("it is vaulted, and no vault password is configured")
    header, _, body = text.strip().partition("\n")
    if header.split(";")[2:3] != ["AES256"]:
        raise InvalidInput(f"it is vaulted in a form that is not known here ({header[:40]})")
    try:
        salt, mac, ciphertext = (unhexlify(part) for part in unhexlify("".join(body.split())).split(b"\n", 2))
    except ValueError as error:
        raise InvalidInput("it is vaulted, and the vaulted text is damaged") from error
    keys = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, 10_000, 80)
    if not hmac.compare_digest(hmac.digest(keys[32:64], ciphertext, "sha256"), mac):
        raise InvalidInput("it is vaulted with another password than the one configured")
    decryptor = Cipher(algorithms.AES(keys[:32]), modes.CTR(keys[64:80])).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    return Secret((unpadder.update(padded) + unpadder.finalize()).decode("utf-8", "replace"))
