"""Files that are read a little at a time: what is read is what lies there, whatever the size of a piece is."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from bounds import ending
from checkpoint_writers import legacy_bytes, tensor

from fastgru.checkpoint import member, read, span
from fastgru.checkpoint.member import Reading
from fastgru.checkpoint.opened import open_checkpoint
from fastgru.checkpoint.pickle import window
from fastgru.checkpoint.span import Span
from fastgru.checkpoint.zip import Archive
from fastgru.errors import CheckpointError

CONTENT = np.random.default_rng(3).integers(0, 9, 3000, np.uint8).tobytes() + bytes(5000)


def zipped(content: bytes, method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("one", content)
    return buffer.getvalue()


def member_of(file: bytes) -> member.Member:
    return Archive(io.BytesIO(file), len(file), "here").member("one", deflated=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [1, 7, 64, 999, 1 << 20])
@pytest.mark.parametrize("content", [b"", b"a", CONTENT])
def test_a_record_in_pieces_is_the_record(monkeypatch, method, size, content):
    monkeypatch.setattr(member, "PIECE", size)
    file = zipped(content, method)
    one = member_of(file)
    pieces = list(one.pieces(io.BytesIO(file)))
    assert b"".join(pieces) == content == one.read(io.BytesIO(file)) and all(len(each) <= size for each in pieces)
    reading, memory = Reading(one, io.BytesIO(file)), bytearray(len(content) // 2)
    head = reading.read(len(content) // 3)
    reading.read_into(memoryview(memory))
    rest = reading.read(10**6)
    reading.finish()
    assert head + memory + rest == content


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [1, 64, 1 << 20])
def test_a_damaged_record_is_refused_at_its_end_at_last(monkeypatch, method, size):
    monkeypatch.setattr(member, "PIECE", size)
    file = zipped(CONTENT, method)
    one = member_of(file)
    wrong = [
        (one.replace(crc=one.crc ^ 1), "CRC-32"),
        (one.replace(start=one.start + len(file)), "shorter while it was read"),
    ]
    if method == zipfile.ZIP_DEFLATED:
        changes = ({"size": 7999}, {"size": 8001}, {"packed_size": one.packed_size - 1})
        wrong += [(one.replace(**each), "does not inflate to the") for each in changes]
        wrong += [(one.replace(packed_size=one.packed_size + more), "does not inflate to the") for more in (1, 9)]
        wrong.append((one.replace(start=one.start + 1), "damaged"))
    for each, words in wrong:
        for work in (each.read, each.check, lambda file, each=each: Reading(each, file).finish()):
            with pytest.raises(CheckpointError, match=words):
                work(io.BytesIO(file))


@pytest.mark.parametrize("page", [1, 16, 4096])
def test_a_span_is_like_a_slice_of_bytes(monkeypatch, file_of, page):
    monkeypatch.setattr(span, "PAGE", page)
    monkeypatch.setattr(span, "MAX_PAGES", 3)
    path, chance = file_of(CONTENT), np.random.default_rng(0)
    with open_checkpoint(path) as opened:
        for start, size in ((0, 8000), (5, 100), (2900, 333)):
            wanted, found = CONTENT[start : start + size], Span(opened, start, size)
            for at, length in zip(chance.integers(0, size + 20, 300), chance.integers(-3, 60, 300), strict=True):
                assert found.piece(int(at), int(length)) == wanted[at : max(at, at + length)]
                assert len(found._pages) <= 3
            assert found.piece(-1, 5) == found.piece(1 << 70, 5) == b"" and found.piece(0, 1 << 70) == wanted
            assert found.holds(wanted[3:9], 3) and not found.holds(wanted + b"x", 0)
            memory = bytearray(50)
            found.read_into(7, memoryview(memory))
            assert memory == wanted[7:57]


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(file_of):
    path = file_of(bytes(100_000))
    with open_checkpoint(path) as opened:
        found = Span(opened, 0, opened.size)
        assert found.piece(0, 4) == bytes(4)
        path.write_bytes(bytes(9000))
        for ask in (lambda: found.piece(50_000, 4), lambda: found.read_into(10, memoryview(bytearray(20_000)))):
            with pytest.raises(CheckpointError, match="it changed while read"):
                ask()


def test_pickles_are_read_as_far_as_they_go_and_end_as_in_memory(monkeypatch, file_of):
    """Cut off anywhere, and followed by tensors that are much larger than the pickles."""
    value = {"a name": tensor(np.arange(300, dtype="f4")), "text": "x" * 90, 7: [1.5, (None, 10**30)]}
    sound = legacy_bytes(value)
    for content in (sound, *(sound[:length] for length in range(20, 420)), sound + b"more"):
        path = file_of(content)
        ends = []
        for first in (1, 1 << 30):
            monkeypatch.setattr(window, "FIRST", first)
            ends.append(ending(read, path))
        if content is sound:
            assert all(np.array_equal(each["a name"], np.arange(300)) for each in ends)
        else:
            assert str(ends[0]) == str(ends[1]) and isinstance(ends[0], CheckpointError)


def test_only_the_pickles_of_a_legacy_file_are_in_memory(file_of, read_with_peak):
    value = {f"x{number}": tensor(np.ones(250_000, "f4")) for number in range(20)}
    content = legacy_bytes(value)
    checkpoint, peak = read_with_peak(file_of(content))
    assert len(checkpoint) == 20 and peak < len(content) + (1 << 20)


def test_a_pickle_beyond_the_first_window(file_of):
    names = [f"layer{number}.weight_ih_l0" for number in range(3000)]
    value = {name: tensor(np.full(2, number, "f4")) for number, name in enumerate(names)}
    checkpoint = read(file_of(legacy_bytes(value)))
    assert list(checkpoint) == names and checkpoint[names[-1]][0] == 2999
