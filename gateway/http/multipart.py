"""Reads a form with files, ``multipart/form-data``, from memory. Nothing is written to a disk."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cupola.gateway.http.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MULTIPART = "multipart/form-data"
_MAX_PARTS = 100
_MAX_HEADERS = 8 * 1024  # bytes of a part
_MAX_FIELD = 1024 * 1024  # bytes of what is no file


@dataclass(frozen=True, slots=True)
class Form:
    fields: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, bytes] = field(default_factory=dict)


def is_multipart(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == MULTIPART


def read_form(content: bytes, content_type: str) -> Form:
    """Raises ApiError for what is no form. Fields of the same name are a list."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise _malformed("its Content-Type has no boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks)
        parser.write(content)
        parser.finalize()
    except FormParserError as error:
        raise _malformed(str(error)) from None
    if not reader.ended:
        raise _malformed("its end is missing")
    return reader.form


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._parts = 0
        self._headers = 0
        self._field = b""
        self._value = b""
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._content: list[bytes] = []
        self._size = 0
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _malformed(f"it has more than {_MAX_PARTS} parts")
        self._headers, self._disposition = 0, b""
        self._content, self._size = [], 0

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += self._header(data, start, end)

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._header(data, start, end)

    def _header(self, data: bytes, start: int, end: int) -> bytes:
        self._headers += end - start
        if self._headers > _MAX_HEADERS:
            raise _malformed("a part has headers that are too long")
        return data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if name is None:
            raise _malformed("a part has no name")
        self._name = name.decode("utf-8", "replace")
        self._is_file = b"filename" in options

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if not self._is_file and self._size > _MAX_FIELD:
            raise _malformed(f"the field '{self._name}' is longer than {_MAX_FIELD} bytes")
        self._content.append(data[start:end])

    def _on_part_end(self) -> None:
        content = b"".join(self._content)
        self._content = []
        if self._is_file:
            if self._name in self.form.files:
                raise _malformed(f"it has several files '{self._name}'")
            self.form.files[self._name] = content
            return
        try:
            self.form.fields[self._name].append(content.decode())
        except UnicodeDecodeError:
            text = f"the field '{self._name}' is no text, and without a file name it is no file"
            raise _malformed(text) from None

    def _on_end(self) -> None:
        self.ended = True


def _malformed(why: str) -> ApiError:
    return ApiError(400, "invalid_form", f"The body is no form with files: {why}")
