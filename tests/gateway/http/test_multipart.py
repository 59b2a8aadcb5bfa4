"""Forms with files: read whole or refused, whatever their bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.multipart import is_multipart, read_form

TYPE = 'multipart/form-data; boundary="b"'


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


@given(st.binary(max_size=300))
def test_a_file_comes_through_as_it_is(content: bytes) -> None:
    if b"--b" in content:
        return
    found = read_form(form(part("file", content, "a.wav"), part("model", b"m")), TYPE)
    assert found.files == {"file": content}
    assert found.fields == {"model": ["m"]}


def test_fields_of_the_same_name_are_a_list() -> None:
    found = read_form(form(part("x[]", b"1"), part("x[]", "ü".encode())), TYPE)
    assert found.fields["x[]"] == ["1", "ü"]


@pytest.mark.parametrize(
    ("content", "content_type", "named"),
    [
        (b"", TYPE, "end is missing"),
        (form(part("a", b"1")), "multipart/form-data", "no boundary"),
        (form(part("a", b"1"))[:-6], TYPE, "end is missing"),
        (form(*[part("a", b"1")] * 101), TYPE, "more than 100 parts"),
        (form(part("a" * 9000, b"1")), TYPE, "header"),
        (form(part("a", b"x" * 2_000_000)), TYPE, "longer than"),
        (form(part("a", b"\xff")), TYPE, "no text"),
        (form(*[part("file", b"1", "x")] * 2), TYPE, "several files"),
        (form(b"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n"), TYPE, "no name"),
    ],
)
def test_what_is_no_form_is_refused(content: bytes, content_type: str, named: str) -> None:
    with pytest.raises(ApiError, match=named) as refused:
        read_form(content, content_type)
    assert refused.value.status == 400


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else_is_raised(noise: bytes) -> None:
    for content in (noise, form(part("a", b"1"), noise)):
        try:
            read_form(content, TYPE)
        except ApiError as error:
            assert error.code == "invalid_form"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [(TYPE, True), ("Multipart/Form-Data", True), ("application/json", False), ("", False)],
)
def test_which_bodies_are_forms(content_type: str, expected: bool) -> None:
    assert is_multipart(content_type) is expected
