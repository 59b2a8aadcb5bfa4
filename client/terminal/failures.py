"""What is told of a failure: a line or two on standard error, or an object on standard output."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress

from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, print_json

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


def tell(message: str, hint: str, form: Form) -> None:
    """Tell what happened and what to do next; what can be written nowhere is left."""
    with suppress(OSError):
        if form is Form.JSON:
            print_json({"success": False, "message": message, "hint": hint})
            return
    with suppress(OSError):
        print(f"cupola: {message}", *filter(None, [hint]), sep="\n", file=sys.stderr)


def words(error: Exception) -> tuple[str, str] | None:
    """What happened, and what to do about it; None when it is a defect of this program."""
    if isinstance(error, ClientError):
        return str(error), error.hint
    if isinstance(error, UnicodeEncodeError):
        begun = error.object[max(0, error.start - 20) : error.end]
        return f"This is not UTF-8: {begun!a}", ""
    from cupola.cache.catalog import UnknownModelError
    from cupola.cache.errors import CacheError, NotCachedError

    if isinstance(error, UnknownModelError):
        return str(error), "To see what there is: cupola model list"
    if isinstance(error, NotCachedError):
        return str(error), f"To fetch it: cupola model download {error.model_id}"
    if isinstance(error, CacheError):
        return str(error), ""
    if isinstance(error, OSError):
        return _of_the_system(error)
    from cupola.service.settings.settings import SettingsError

    if isinstance(error, SettingsError):
        return str(error), "To see every setting: cupola serve --help"
    return None


def _of_the_system(error: OSError) -> tuple[str, str]:
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error) or type(error).__name__, ""
    hint = ""
    if error.errno in _FORBIDDEN:
        hint = "Give this user the right to write there, or choose another data folder with --home"
    elif error.errno in _FULL:
        hint = "Make room on that disk, or choose another data folder with --home"
    return f"{error.filename}: {error.strerror}", hint
