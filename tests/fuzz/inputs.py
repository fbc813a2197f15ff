"""Inputs from hostile or broken places: whole files that are damaged, and texts with what parsers trip over."""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from png_files import png_chunks, png_of

ENDS_OF_RANGES = [0, 1, 2, 127, 128, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
LONG_NUMBER = "9" * 5000  # Python reads no whole number of more than 4,300 digits
DEEP = 20_000
ODD_TEXTS = [
    "",
    "\0",
    "\ufeff",
    "\x1b[31m",
    "\r\n",
    "../../../etc/passwd",
    "/dev/stdin",
    "-",
    "nan",
    "-inf",
    "1e999",
    "0x10",
    "1_000",
    "\u202e\u0661\u0662",
    "e\u0301",
    "\U0001f600" * 40,
    "x" * 5000,
    LONG_NUMBER,
]
texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=12))


@st.composite
def damaged(draw: st.DrawFn, wholes: Sequence[bytes], most: int = 6) -> bytes:
    """One of the files with up to `most` changes: bytes overwritten, numbers put to the ends of their ranges, parts cut
    out, doubled, or taken from another file."""
    chance = draw(st.randoms(use_true_random=True))  # a draw of hypothesis for each number would take most of the time
    content = bytearray(chance.choice(wholes))
    for _ in range(chance.randint(0, most)):
        start = chance.randint(0, len(content))
        how = chance.randint(0, 6)
        if how == 0:
            content[start : start + 1] = bytes([chance.randint(0, 255)])
        elif how == 1:
            form = chance.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
            most_of_form = 256 ** struct.calcsize(form) - 1
            number = struct.pack(form, chance.choice(ENDS_OF_RANGES) & most_of_form)
            content[start : start + len(number)] = number
        elif how == 2:
            del content[start:]
        elif how == 3:
            del content[start : start + chance.randint(1, 64)]
        elif how == 4:
            content[start:start] = content[start : start + chance.randint(1, 64)]
        elif how == 5:
            content[start:start] = chance.randbytes(chance.randint(0, 16))
        else:
            other = chance.choice(wholes)
            content[start:] = other[chance.randint(0, len(other)) :]
    return bytes(content)


def json_values() -> st.SearchStrategy[Any]:
    """Any value that Python writes as JSON, also those that no JSON may have, such as NaN."""
    numbers = st.one_of(st.sampled_from(ENDS_OF_RANGES), st.integers(), st.floats(), st.sampled_from((10**400, -1)))
    leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
    )


@st.composite
def changed_tree(draw: st.DrawFn, whole: Mapping[str, Any]) -> Any:
    """The tree with up to three values replaced, removed or added at any depth."""
    root: list[Any] = [json.loads(json.dumps(whole))]
    for _ in range(draw(st.integers(0, 3))):
        parent: Any = root
        key: Any = 0
        while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 3)):
            parent = parent[key]
            key = draw(st.sampled_from([*parent] if isinstance(parent, dict) else range(len(parent))))
        how = draw(st.integers(0, 3))
        if how == 0 and parent is not root:
            del parent[key]
        elif how == 1 and isinstance(parent[key], dict):
            parent[key][draw(texts)] = draw(json_values())
        else:
            parent[key] = draw(json_values())
    return root[0]


def json_files(*wholes: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """JSON files that were changed as trees, damaged as bytes, or are no such thing at all."""
    files = [json.dumps(whole).encode() for whole in wholes]
    odd = [b"", b"null", b"[" * DEEP, b'{"a":' * DEEP, b"[" + LONG_NUMBER.encode() + b"]", b"\xff\xfe{\0}\0", b"\xff"]
    changed = [changed_tree(whole).map(written) for whole in wholes]
    return st.one_of(*changed, damaged(files), st.sampled_from(odd), st.binary(max_size=40))


def written(tree: Any) -> bytes:
    """A tree as JSON; what is too long a number for Python to write is written all the same."""
    try:
        return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return LONG_NUMBER.encode()


def toml_values() -> st.SearchStrategy[str]:
    """What may stand behind `=` in TOML, or may not."""
    leaves = st.one_of(
        st.integers().map(str),
        st.floats().map(str),
        st.booleans().map(lambda value: str(value).lower()),
        texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
        texts,
        st.sampled_from(("1979-05-27T07:32:00Z", "07:32:00", "[]", "{}", "'", '"""', "[" * DEEP, "{a=" * 3000)),
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
            | inner.map(lambda part: f"{{a = {part}}}")
        ),
        max_leaves=4,
    )


def toml_files(wholes: Sequence[str]) -> st.SearchStrategy[bytes]:
    """TOML files: the lines of whole ones mixed with others, or damaged as bytes."""
    lines = sorted({line for whole in wholes for line in whole.splitlines()})
    keys = sorted({line.partition("=")[0].strip() for line in lines if "=" in line})
    assigned = st.tuples(st.sampled_from(keys) | texts, toml_values()).map(lambda pair: f"{pair[0]} = {pair[1]}")
    headers = st.tuples(st.sampled_from(("[{}]", "[[{}]]", "[a.{}]")), texts).map(lambda pair: pair[0].format(pair[1]))

    @st.composite
    def with_lines(draw: st.DrawFn) -> bytes:
        whole = draw(st.sampled_from(wholes)).splitlines()
        for _ in range(draw(st.integers(1, 4))):
            place = draw(st.integers(0, len(whole)))
            gone = draw(st.integers(0, 1))
            whole[place : place + gone] = [draw(st.one_of(assigned, headers, st.sampled_from(lines), texts))]
        return "\n".join(whole).encode("utf-8", "surrogatepass")

    deep = "\n".join(f"[{'a.' * depth}a]" for depth in range(100)).encode()
    odd = st.sampled_from([b"", b"\xff", b"a = " + b"[" * DEEP, b"a = " + LONG_NUMBER.encode(), deep])
    return st.one_of(with_lines(), damaged([whole.encode() for whole in wholes]), odd)


def tables(names: Sequence[str], wholes: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Tables of labels in all the ways that people write them, about these images or others, and damaged ones."""
    cells = st.one_of(st.sampled_from(names), st.sampled_from(("1", "-1", "0", "true", "train", "val", "")), texts)
    heads = st.one_of(st.sampled_from(("file", "split", "identity", "smiling", "index", "3", LONG_NUMBER)), texts)

    @st.composite
    def rows(draw: st.DrawFn) -> bytes:
        between = draw(st.sampled_from((",", ";", "\t", " ", "  ", "\0")))
        end = draw(st.sampled_from(("\n", "\r\n", "\r", "\x0b")))
        header = between.join(draw(st.lists(heads, max_size=4)))
        lines = [between.join(line) for line in draw(st.lists(st.lists(cells, max_size=4), max_size=5))]
        counted = draw(st.sampled_from((None, len(lines), len(lines) + 1)))
        text = end.join(([] if counted is None else [str(counted)]) + [header, *lines])
        return draw(st.sampled_from((b"", b"\xef\xbb\xbf", b"\n\n"))) + text.encode("utf-8", "surrogatepass")

    return st.one_of(rows(), damaged([whole.encode() for whole in wholes]), st.binary(max_size=60))


@st.composite
def rechunked(draw: st.DrawFn, pngs: Sequence[bytes]) -> bytes:
    """A PNG whose chunks were changed, exchanged or doubled, each with the checksum that its data have: so a reader
    does not stop at the first check."""
    chunks = png_chunks(draw(st.sampled_from(pngs)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(chunks) - 1))
        kind, data = chunks[place]
        how = draw(st.integers(0, 4))
        if how == 0:
            chunks[place] = kind, draw(damaged([data]))
        elif how == 1:
            chunks.insert(draw(st.integers(0, len(chunks))), (kind, data))
        elif how == 2 and len(chunks) > 1:
            del chunks[place]
        elif how == 3:
            text = draw(json_files({"seed": 0})).replace(b"\0", b"")
            packed = zlib.compress(text if draw(st.booleans()) else bytes(2**21))
            wrapped = draw(st.sampled_from((b"limner\0" + text, b"limner\0\0" + packed, b"limner\0\1\0\0\0" + packed)))
            chunks.insert(1, (draw(st.sampled_from((b"tEXt", b"zTXt", b"iTXt"))), wrapped))
        else:
            chunks[place] = draw(st.sampled_from((b"tEXt", b"iTXt", b"eXIf", b"caBX", b"acTL", b"fcTL", b"iCCP"))), data
    return png_of(chunks)


@st.composite
def safetensors(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file of weights whose header was changed, with a length that fits it, or that was damaged as bytes."""
    if draw(st.booleans()):
        return draw(damaged([whole]))
    (length,) = struct.unpack_from("<Q", whole)
    header = written(draw(changed_tree(json.loads(whole[8 : 8 + length]))))
    return struct.pack("<Q", len(header)) + header + whole[8 + length :]
