"""Inputs from hostile or broken places: whole files that are damaged, and texts with what parsers trip over.

Hypothesis chooses the kind of an input and gives it a seed, and the functions here draw the rest from that seed: a draw
of hypothesis for each number and each letter would take nine tenths of the time.
"""

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st
from png_files import png_chunks, png_of

ENDS_OF_RANGES = [0, 1, 2, 127, 128, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
NUMBERS = [*ENDS_OF_RANGES, -1, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]
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
    "\udc80",
    "\U0001f600" * 40,
    "x" * 5000,
    LONG_NUMBER,
]
LETTERS = ((0x20, 0x7F), (0, 0x20), (0x80, 0x800), (0x800, 0xD800), (0xD800, 0xE000), (0xE000, 0x110000))

BOMB = zlib.compress(bytes(2**21))
SEEDS = st.binary(min_size=8, max_size=8)  # hypothesis's whole numbers are mostly small, and so often the same


def drawn(make: Callable[..., Any], *given: Any) -> st.SearchStrategy[Any]:
    """What `make`, a function of this file, draws from `given` and a seed of hypothesis."""
    return SEEDS.map(lambda seed: make(Random(seed), *given))


def text(chance: Random) -> str:
    if chance.random() < 0.5:
        return chance.choice(ODD_TEXTS)
    return "".join(chr(chance.randrange(*chance.choice(LETTERS))) for _ in range(chance.randint(0, 12)))


def whole_number(chance: Random) -> int:
    """Of any length up to 80 bits, so that short ones are not rare."""
    return chance.choice((-1, 1)) * chance.getrandbits(chance.randint(1, 80))


def real_number(chance: Random) -> float:
    """Any that eight bytes can say."""
    (number,) = struct.unpack("<d", chance.randbytes(8))
    return float(number)


def json_value(chance: Random, depth: int = 0) -> Any:
    """Any value that Python writes as JSON, also those that no JSON may have, such as NaN."""
    match chance.randrange(8 if depth < 3 else 6):
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return chance.choice(NUMBERS)
        case 3:
            return whole_number(chance)
        case 4:
            return real_number(chance)
        case 5:
            return text(chance)
        case 6:
            return [json_value(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    return {text(chance): json_value(chance, depth + 1) for _ in range(chance.randint(0, 4))}


def damage(chance: Random, wholes: Sequence[bytes], most: int = 6) -> bytes:
    """One of the files with up to `most` changes: bytes overwritten, numbers put to the ends of their ranges, parts cut
    out, doubled, or taken from another file."""
    content = bytearray(chance.choice(wholes))
    for _ in range(chance.randint(0, most)):
        start = chance.randint(0, len(content))
        match chance.randrange(7):
            case 0:
                content[start : start + 1] = chance.randbytes(1)
            case 1:
                form = chance.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
                most_of_form = 256 ** struct.calcsize(form) - 1
                number = struct.pack(form, chance.choice(ENDS_OF_RANGES) & most_of_form)
                content[start : start + len(number)] = number
            case 2:
                del content[start:]
            case 3:
                del content[start : start + chance.randint(1, 64)]
            case 4:
                content[start:start] = content[start : start + chance.randint(1, 64)]
            case 5:
                content[start:start] = chance.randbytes(chance.randint(0, 16))
            case _:
                other = chance.choice(wholes)
                content[start:] = other[chance.randint(0, len(other)) :]
    return bytes(content)


def changed_tree(chance: Random, whole: Mapping[str, Any]) -> Any:
    """The tree with up to three values replaced, removed or added at any depth."""
    root: list[Any] = [json.loads(json.dumps(whole))]
    for _ in range(chance.randint(0, 3)):
        parent: Any = root
        key: Any = 0
        while isinstance(parent[key], dict | list) and parent[key] and chance.randrange(4):
            parent = parent[key]
            key = chance.choice([*parent] if isinstance(parent, dict) else range(len(parent)))
        how = chance.randrange(4)
        if how == 0 and parent is not root:
            del parent[key]
        elif how == 1 and isinstance(parent[key], dict):
            parent[key][text(chance)] = json_value(chance)
        else:
            parent[key] = json_value(chance)
    return root[0]


def written(tree: Any) -> bytes:
    """A tree as JSON; what is too long a number for Python to write is written all the same."""
    try:
        return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return LONG_NUMBER.encode()


def json_file(chance: Random, wholes: Sequence[Mapping[str, Any]]) -> bytes:
    """A JSON file that was changed as a tree, damaged as bytes, or is no such thing at all."""
    how = chance.random()
    if how < 0.5:
        return written(changed_tree(chance, chance.choice(wholes)))
    if how < 0.8:
        return damage(chance, [json.dumps(whole).encode() for whole in wholes])
    if how < 0.9:
        return chance.randbytes(chance.randint(0, 40))
    odd = (b"", b"null", b"[" * DEEP, b'{"a":' * DEEP, b"[" + LONG_NUMBER.encode() + b"]", b"\xff\xfe{\0}\0", b"\xff")
    return chance.choice(odd)


def toml_value(chance: Random, depth: int = 0) -> str:
    """What may stand behind `=` in TOML, or may not."""
    odd = ("1979-05-27T07:32:00Z", "07:32:00", "[]", "{}", "'", '"""', "[" * DEEP, "{a=" * 3000)
    match chance.randrange(8 if depth < 3 else 6):
        case 0:
            return str(whole_number(chance))
        case 1:
            return str(real_number(chance))
        case 2:
            return chance.choice(("true", "false"))
        case 3:
            return json.dumps(text(chance), ensure_ascii=False)
        case 4:
            return text(chance)
        case 5:
            return chance.choice(odd)
        case 6:
            return f"[{', '.join(toml_value(chance, depth + 1) for _ in range(chance.randint(0, 3)))}]"
    return f"{{a = {toml_value(chance, depth + 1)}}}"


def toml_file(chance: Random, wholes: Sequence[str]) -> bytes:
    """A TOML file: the lines of a whole one mixed with others, or damaged as bytes."""
    how = chance.random()
    if how < 0.3:
        return damage(chance, [whole.encode() for whole in wholes])
    if how < 0.35:
        deep = "\n".join(f"[{'a.' * depth}a]" for depth in range(100)).encode()
        return chance.choice((b"", b"\xff", b"a = " + b"[" * DEEP, b"a = " + LONG_NUMBER.encode(), deep))
    lines = chance.choice(wholes).splitlines()
    others = chance.choice(wholes).splitlines()
    keys = [line.partition("=")[0].strip() for line in others if "=" in line]
    for _ in range(chance.randint(1, 4)):
        new = chance.choice(
            (
                f"{chance.choice([*keys, text(chance)])} = {toml_value(chance)}",
                chance.choice(("[{}]", "[[{}]]", "[a.{}]")).format(text(chance)),
                chance.choice(others),
                text(chance),
            )
        )
        place = chance.randint(0, len(lines))
        lines[place : place + chance.randint(0, 1)] = [new]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def table(chance: Random, names: Sequence[str], wholes: Sequence[str]) -> bytes:
    """A table of labels in any of the ways that people write them, about these images or others, or a damaged one."""
    how = chance.random()
    if how < 0.3:
        return damage(chance, [whole.encode() for whole in wholes])
    if how < 0.4:
        return chance.randbytes(chance.randint(0, 60))
    between = chance.choice((",", ";", "\t", " ", "  ", "\0"))
    heads = ("file", "split", "identity", "smiling", "index", "3", LONG_NUMBER)
    values = ("1", "-1", "0", "true", "train", "val", "")

    def cells(*known: Sequence[str]) -> str:
        return between.join(
            chance.choice((*map(chance.choice, known), text(chance))) for _ in range(chance.randint(0, 4))
        )

    lines = [cells(names, values) for _ in range(chance.randint(0, 5))]
    counted = chance.choice(([], [str(len(lines))], [str(len(lines) + 1)]))
    content = chance.choice(("\n", "\r\n", "\r", "\x0b")).join([*counted, cells(heads), *lines])
    return chance.choice((b"", b"\xef\xbb\xbf", b"\n\n")) + content.encode("utf-8", "surrogatepass")


def changed_png(chance: Random, pngs: Sequence[bytes]) -> bytes:
    """A PNG whose chunks were changed, exchanged or doubled, each with the checksum that its data have: so a reader
    does not stop at the first check."""
    chunks = png_chunks(chance.choice(pngs))
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(chunks))
        kind, data = chunks[place]
        how = chance.randrange(5)
        if how == 0:
            chunks[place] = kind, damage(chance, [data])
        elif how == 1:
            chunks.insert(chance.randint(0, len(chunks)), (kind, data))
        elif how == 2 and len(chunks) > 1:
            del chunks[place]
        elif how == 3:
            said = json_file(chance, [{"seed": 0}]).replace(b"\0", b"")
            packed = zlib.compress(said) if chance.random() < 0.5 else BOMB
            wrapped = chance.choice((b"limner\0" + said, b"limner\0\0" + packed, b"limner\0\1\0\0\0" + packed))
            chunks.insert(1, (chance.choice((b"tEXt", b"zTXt", b"iTXt")), wrapped))
        else:
            chunks[place] = chance.choice((b"tEXt", b"iTXt", b"eXIf", b"caBX", b"acTL", b"fcTL", b"iCCP")), data
    return png_of(chunks)


def changed_weights(chance: Random, whole: bytes) -> bytes:
    """A file of weights whose header was changed, with a length that fits it, or that was damaged as bytes."""
    if chance.random() < 0.5:
        return damage(chance, [whole])
    (length,) = struct.unpack_from("<Q", whole)
    header = written(changed_tree(chance, json.loads(whole[8 : 8 + length])))
    return struct.pack("<Q", len(header)) + header + whole[8 + length :]
