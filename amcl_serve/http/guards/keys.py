"""API keys: where they come from, and what each allows. A key is never shown, logged or kept as text."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from enum import Enum
from hashlib import sha256
from pathlib import Path

from amcl_serve.errors import StartupError
from amcl_serve.settings import Settings

_KEY = re.compile(r"[!-+\--~]+")  # printable ASCII but space and comma: what a header can carry and a list can hold


class Access(Enum):
    """What a key allows."""

    READ = "read"
    WRITE = "write"  # and read


class Keys:
    """The keys of a server, by their digests; none at all means that the server asks for none."""

    def __init__(self, read_write: Iterable[str] = (), read_only: Iterable[str] = ()) -> None:
        self._access = {_digest(key.encode("ascii")): Access.WRITE for key in read_write}
        for key in read_only:
            if self._access.setdefault(_digest(key.encode("ascii")), Access.READ) is Access.WRITE:
                raise StartupError("one key is both read-write and read-only; give it in one place")

    @classmethod
    def load(cls, settings: Settings) -> Keys:
        """The keys of the settings and their files; StartupError where one is set and holds none."""
        found = []
        for name in ("api_key", "read_only_api_key"):
            secret, file = getattr(settings, name), getattr(settings, f"{name}_file")
            keys = [] if secret is None else parse_keys(secret.get_secret_value(), f"AMCL_{name.upper()}")
            found.append(keys + ([] if file is None else read_key_file(file)))
        return cls(*found)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._access)

    def access(self, key: bytes) -> Access | None:
        """What `key` allows; None if it is none of ours. The time it takes says nothing about the keys."""
        digest = _digest(key)
        found = None
        for known, access in self._access.items():  # all of them, whichever fits
            if hmac.compare_digest(known, digest):
                found = access
        return found


def parse_keys(text: str, source: str) -> list[str]:
    """The keys in a text, separated by commas or line breaks; StartupError, naming `source`, if there is none."""
    keys = [part.strip() for part in re.split(r"[,\r\n]", text) if part.strip()]
    if not keys:
        raise StartupError(f"{source} is set and holds no key; unset it to run without")
    if not all(_KEY.fullmatch(key) for key in keys):
        raise StartupError(f"{source}: a key is printable ASCII without spaces, as `openssl rand -hex 32` makes one")
    return keys


def read_key_file(path: Path) -> list[str]:
    """The keys of a file, one a line; StartupError if it cannot be read or holds none."""
    try:
        return parse_keys(path.read_text("utf-8"), f"the key file {path}")
    except OSError as error:
        raise StartupError(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartupError(f"the key file {path} is no text") from None


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
