"""Throwing away kernels that were compiled from other sources.

numba compares a cached kernel with the file it stands in, not with those of the kernels it calls:
after an update of one file, callers in the others would go on with its old code.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

#: Holds the digest of the sources that the kernels beside it were compiled from.
STAMP = "kernels.sha256"


def drop_stale(sources: Path, cache: Path) -> int:
    """Delete cached kernels of other sources; return how many files went.

    Parameters
    ----------
    sources : Path
        Folder of the modules that kernels are made of.
    cache : Path
        Where numba keeps them: `__pycache__` of that folder, or one that was configured. What may
        not be written is left as it is.
    """
    digest = sha256(b"".join(path.read_bytes() for path in sorted(sources.glob("*.py"))))
    stamp = cache / STAMP
    if stamp.is_file() and stamp.read_text(encoding="ascii") == digest.hexdigest():
        return 0
    gone = 0
    with suppress(OSError):
        for pattern in ("*.nbi", "*.nbc"):
            for path in cache.rglob(pattern):
                path.unlink(missing_ok=True)
                gone += 1
        cache.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest.hexdigest(), encoding="ascii")
    return gone


def drop_stale_kernels() -> int:
    """Delete the kernels of this installation that were compiled from other sources."""
    import signals

    sources = Path(str(signals.__file__)).parent
    return drop_stale(sources, folder_of(sources))


def folder_of(sources: Path) -> Path:
    """Return the folder in which numba keeps the kernels of the modules in `sources`.

    It need not be there yet: stamped before the first kernel is compiled into it, it holds what the
    next process may use.
    """
    from numba import config
    from numba.core.caching import UserProvidedCacheLocator

    configured = str(getattr(config, "CACHE_DIR", ""))  # $NUMBA_CACHE_DIR
    if not configured:
        return sources / "__pycache__"
    locator: Any = UserProvidedCacheLocator
    name = locator.get_suitable_cache_subpath(str(sources / "__init__.py"))
    return Path(configured) / str(name)
