from __future__ import annotations

from uuid import UUID

TOP = (1 << 64) - 1


A_UUID = UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")
