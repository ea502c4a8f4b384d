"""Errors are one printable line, whatever names the files of strangers hold."""

from __future__ import annotations

import pytest

from jaxgan.errors import DataError, JaxganError, one_line, require


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, with äöü and 猫", "plain, with äöü and 猫"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("undecodable \udc80", "undecodable \\udc80"),
        ("right to left \u202e", "right to left \\u202e"),
        ("", ""),
    ],
)
def test_what_cannot_be_printed_is_escaped(text, line):
    assert one_line(text) == line
    assert str(DataError(text)) == line
    with pytest.raises(ValueError) as caught:
        require(False, text)
    assert str(caught.value) == line
    line.encode()


def test_errors_without_a_message():
    assert str(JaxganError()) == ""
