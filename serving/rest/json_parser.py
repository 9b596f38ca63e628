"""JSON as TensorFlow Serving reads it.

Its parser (rapidjson 1.1.0, since TensorFlow Serving 2.18 iterative and stopping at the end of the document)
differs from Python's: NaN, Inf and Infinity are numbers, the first of two equal keys counts, bytes need not
be UTF-8, nesting has no limit (here ``MAX_DEPTH``), text after the document is ignored, and errors name a byte
offset.
:func:`parse` tries Python's C parser first and repeats what that refuses with these rules.

Values are Python's: dict (:class:`Repeated` where a key occurs twice), list, str, int, float, bool, None. A
token without fraction and exponent is an int, every other number a float. Bytes that are not UTF-8 are kept
as surrogate escapes (PEP 383): encode with ``errors="surrogateescape"``.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from typing import Any


class JsonError(ValueError):
    """Text that is not JSON; the message names the problem and the byte offset."""

    def __init__(self, problem: str, offset: int):
        super().__init__(f"{problem} at offset: {offset}")


class Repeated(dict[str, Any]):
    """An object in which a key occurs twice: a dict of the first values; ``pairs`` has every member."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(reversed(pairs))
        self.pairs = pairs


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeated(pairs)


# Ours: TensorFlow Serving takes as many levels as fit in its memory.
MAX_DEPTH = 500_000
_decoder = json.JSONDecoder(object_pairs_hook=_members)
_WHITESPACE = re.compile(rb"[ \t\n\r]*")

# Whatever Python's parser accepts and rapidjson does not must contain one of these: an exponent of three
# digits or two hundred digits in a row (too big for a double), or an escaped surrogate.
_TO_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_EXPONENT = b"e000"
_LONG_NUMBER = b"0" * 200
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(body: bytes) -> Any:
    """Parse the JSON document at the start of a request's body.

    Args:
        body: bytes, with or without a UTF-8 byte order mark.

    Raises:
        JsonError: not JSON, or a number that no double holds.
    """
    start = len(codecs.BOM_UTF8) if body.startswith(codecs.BOM_UTF8) else 0
    shape = body.translate(_TO_SHAPE, b"+")
    doubtful = _LARGE_EXPONENT in shape or _LONG_NUMBER in shape
    if not doubtful and not (b"\\u" in body and _SURROGATE.search(body)):
        text = body[start:].decode("utf-8", "surrogateescape").lstrip(" \t\n\r")
        # A number alone ends where Python stops to understand it; requests are objects anyway.
        with contextlib.suppress(ValueError, RecursionError):
            if text.startswith(("{", "[")):
                return _decoder.raw_decode(text)[0]
    return _Parser(body, start).parse()


_EMPTY = "The document is empty."
_INVALID = "Invalid value."
_NO_NAME = "Missing a name for object member."
_NO_COLON = "Missing a colon after a name of object member."
_NO_CURLY = "Missing a comma or } after an object member."
_NO_SQUARE = "Missing a comma or ] after an array element."
_BAD_HEX = "Incorrect hex digit after \\u escape in string."
_BAD_SURROGATE = "The surrogate pair in string is invalid."
_BAD_ESCAPE = "Invalid escape character in string."
_NO_QUOTE = "Missing a closing quotation mark in string."
_TOO_BIG = "Number too big to be stored in double."
_NO_FRACTION = "Miss fraction part in number."
_NO_EXPONENT = "Miss exponent in number."
_TOO_DEEP = "Nesting is too deep."

# Each state is named by what it complains about when the next token does not fit; a value may follow in the
# last four, and two of them share the complaint.
_AFTER_NAME, _AFTER_MEMBER, _AFTER_ELEMENT, _NAME, _FIRST_NAME = range(5)
_START, _MEMBER_VALUE, _FIRST_ELEMENT, _ELEMENT = range(5, 9)
_COMPLAINTS = (
    _NO_COLON,
    _NO_CURLY,
    _NO_SQUARE,
    _NO_NAME,
    _NO_NAME,
    _EMPTY,
    _INVALID,
    _INVALID,
    _INVALID,
)

_LITERALS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}
_CONSTANTS = ((b"NaN", float("nan")), (b"Infinity", float("inf")), (b"Inf", float("inf")))
_NUMBER = re.compile(rb"(-?(?:0|[1-9][0-9]*))(\.[0-9]*)?([eE]([+-]?)([0-9]*))?")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = dict(zip(b'"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))


class _Parser:
    """rapidjson's iterative parser: one state, and a stack of the containers that are open."""

    def __init__(self, body: bytes, start: int):
        self.body = body
        self.at = start

    def parse(self) -> Any:
        body = self.body
        state = _START
        # A list for an array, a list of pairs and the names waiting for their values for objects.
        open_containers: list[tuple[bool, list[Any]]] = []
        names: list[str] = []
        while True:
            self.at = _WHITESPACE.match(body, self.at).end()  # type: ignore[union-attr]
            token = body[self.at : self.at + 1]
            value: Any = None
            if state >= _START and token not in (b"", b"\0", b"}", b",", b":"):
                if token in (b"[", b"{"):
                    if len(open_containers) >= MAX_DEPTH:
                        raise JsonError(_TOO_DEEP, self.at)
                    open_containers.append((token == b"{", []))
                    state = _FIRST_NAME if token == b"{" else _FIRST_ELEMENT
                    self.at += 1
                    continue
                if token == b"]":
                    if state != _FIRST_ELEMENT:
                        raise JsonError(_COMPLAINTS[state], self.at)
                    value = open_containers.pop()[1]
                    self.at += 1
                else:
                    value = self._scalar(token)
            elif state == _AFTER_NAME and token == b":":
                state = _MEMBER_VALUE
                self.at += 1
                continue
            elif state in (_NAME, _FIRST_NAME) and token == b'"':
                names.append(self._string())
                state = _AFTER_NAME
                continue
            elif token == b"," and state in (_AFTER_MEMBER, _AFTER_ELEMENT):
                state = _NAME if state == _AFTER_MEMBER else _ELEMENT
                self.at += 1
                continue
            elif (token == b"}" and state in (_AFTER_MEMBER, _FIRST_NAME)) or (
                token == b"]" and state == _AFTER_ELEMENT
            ):
                is_object, items = open_containers.pop()
                value = _members(items) if is_object else items
                self.at += 1
            else:
                raise JsonError(_COMPLAINTS[state], self.at)
            # A value is complete: it ends the document, or belongs to the innermost open container.
            if not open_containers:
                return value
            is_object, items = open_containers[-1]
            items.append((names.pop(), value) if is_object else value)
            state = _AFTER_MEMBER if is_object else _AFTER_ELEMENT

    def _scalar(self, token: bytes) -> Any:
        if token == b'"':
            return self._string()
        if token in _LITERALS:
            word, value = _LITERALS[token]
            self._expect(word)
            return value
        return self._number()

    def _expect(self, word: bytes) -> None:
        for letter in word:
            if self.body[self.at : self.at + 1] != bytes([letter]):
                raise JsonError(_INVALID, self.at)
            self.at += 1

    def _number(self) -> int | float:
        start = self.at
        match = _NUMBER.match(self.body, start)
        if not match:
            return self._constant()
        integer, fraction, exponent, sign, power = match.groups()
        self.at = match.end()
        if fraction == b".":
            raise JsonError(_NO_FRACTION, match.end(2))
        if exponent and not power:
            raise JsonError(_NO_EXPONENT, match.end())
        if fraction is None and exponent is None and len(integer) <= 20:
            return int(integer)
        largest = 308 + len(fraction or b".") - 1
        if exponent and sign != b"-" and (len(power) > 5 or int(power) > largest):
            raise JsonError(_TOO_BIG, start)
        value = float(match.group())
        if value in (float("inf"), float("-inf")):
            raise JsonError(_TOO_BIG, start)
        return value

    def _constant(self) -> float:
        negative = self.body.startswith(b"-", self.at)
        self.at += negative
        for word, value in _CONSTANTS:
            if self.body.startswith(word, self.at) and not (
                # "Inf" may be followed by anything but the rest of a misspelt "Infinity".
                word == b"Inf" and self.body.startswith(b"Infi", self.at)
            ):
                self.at += len(word)
                return -value if negative else value
        self._expect(b"Infinity" if self.body.startswith(b"I", self.at) else b"NaN")
        raise AssertionError("unreachable: the word was found above")

    def _string(self) -> str:
        self.at += 1
        parts: list[bytes] = []
        while True:
            match = _PLAIN.match(self.body, self.at)
            parts.append(match.group())  # type: ignore[union-attr]
            self.at = match.end()  # type: ignore[union-attr]
            stop = self.body[self.at : self.at + 1]
            if stop == b'"':
                self.at += 1
                return b"".join(parts).decode("utf-8", "surrogateescape")
            if stop in (b"", b"\0"):
                raise JsonError(_NO_QUOTE, self.at)
            if stop != b"\\":
                raise JsonError(_BAD_ESCAPE, self.at)
            parts.append(self._escape())

    def _escape(self) -> bytes:
        start = self.at
        letter = self.body[start + 1 : start + 2]
        self.at += 2
        if letter and letter[0] in _ESCAPES:
            return _ESCAPES[letter[0]].encode()
        if letter != b"u":
            raise JsonError(_BAD_ESCAPE, start)
        first = self._hex4(start)
        if 0xD800 <= first <= 0xDBFF:
            if self.body[self.at : self.at + 2] != b"\\u":
                raise JsonError(_BAD_SURROGATE, start)
            self.at += 2
            second = self._hex4(start)
            if not 0xDC00 <= second <= 0xDFFF:
                raise JsonError(_BAD_SURROGATE, start)
            first = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        # A low surrogate alone is written as its three bytes, as rapidjson does.
        return chr(first).encode("utf-8", "surrogatepass")

    def _hex4(self, start: int) -> int:
        match = _HEX4.match(self.body, self.at)
        if not match:
            raise JsonError(_BAD_HEX, start)
        self.at += 4
        return int(match.group(), 16)
