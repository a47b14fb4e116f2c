"""The zip container, and every rule a zip must keep before a byte of it is used: one place for both frameworks.

The central directory is parsed here by hand, because tools that disagree about a zip are how a hostile one gets past a
scanner: what is not exactly one reading of the file is refused. Nothing is ever written to disk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from ..errors import CheckpointError
from ..records.fields import Fields
from .text import shown

__all__ = ["MAGIC", "Archive", "Place", "Record"]

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # with records, and without any

STORED, DEFLATED = 0, 8
ENCRYPTED, SIZES_FOLLOW, UTF8 = 0x0001, 0x0008, 0x0800
MASK16, MASK32 = 0xFFFF, 0xFFFFFFFF

MAX_RECORDS = 50_000
MAX_DIRECTORY = 32 << 20
# What all inflated records together may take: half as much again as the file and this. zlib holds its output twice.
# No record has a bound of its own: a bias of zeros deflates to a two-hundredth, and harms nobody.
SLACK = 28 << 20

END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")
CENTRAL = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")


class Record(Fields):
    """One file of the archive, as the central directory has it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    header: int  # where its local header begins


class Place(Fields):
    """Where the bytes of a stored record are in the file, and what they must be."""

    start: int
    size: int
    crc: int
    what: str  # what an error begins with

    def check(self, content: bytes | memoryview) -> None:
        """Raise unless the CRC-32 of the content is the record's."""
        if zlib.crc32(content) != self.crc:
            raise CheckpointError(
                f"{self.what}: its CRC-32 does not fit its data, so the file is damaged (or was written with "
                "torch.serialization.set_crc32_options(False); save it anew without that)"
            )


class Archive:
    """The records of a zip by name. Opening it checks every header; ``read`` checks the data.

    Raises
    ------
    CheckpointError
        The file is not one well-formed zip without encryption, duplicate, overlapping or escaping names.
    """

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self._file, self._size, self._where = file, size, where
        self._inflated = 0
        offset, length, count = self._find_directory()
        if count > MAX_RECORDS or length > MAX_DIRECTORY:
            raise self._error(f"got {count} records in {length} bytes of directory, wanted at most {MAX_RECORDS}")
        self.records: dict[str, Record] = {}
        directory = self._bytes(offset, length)
        position = 0
        for _ in range(count):
            record, position = self._parse_record(directory, position)
            if record.name in self.records:
                raise self._error(f"two records are called {shown(record.name)}; wanted different names")
            self.records[record.name] = record
        if position != length:
            raise self._error(f"the directory has {length - position} bytes after its {count} records")
        self._starts = self._check_local_headers(offset)

    def __contains__(self, name: str) -> bool:
        return name in self.records

    @property
    def names(self) -> Iterable[str]:
        """Every name, folders (which end in a slash) left out."""
        return [name for name in self.records if not name.endswith("/")]

    def size_of(self, name: str) -> int:
        """The number of bytes ``read`` will give."""
        return self._record(name).size

    def read(self, name: str, *, limit: int | None = None, deflated: bool = False) -> bytes:
        """The content of one record, its CRC-32 checked.

        Parameters
        ----------
        name : str
        limit : int, optional
            The largest size accepted.
        deflated : bool
            Accept a compressed record; otherwise it must be stored as it is.
        """
        record = self._record(name)
        place = self._place(record)
        if limit is not None and record.size > limit:
            raise CheckpointError(f"{place.what}: got {record.size} bytes, wanted at most {limit}")
        if record.method == DEFLATED and deflated:
            content = self._inflate(record, f"record {shown(name)}")
        else:
            self._check_stored(record)
            content = self._bytes(place.start, record.size)
        place.check(content)
        return content

    def place(self, name: str) -> Place:
        """Where a record lies that is stored as it is, for who reads it later; errors are those of ``read``."""
        record = self._record(name)
        self._check_stored(record)
        return self._place(record)

    def _place(self, record: Record) -> Place:
        what = f"{self._where}: record {shown(record.name)}"
        return Place(self._starts[record.name], record.size, record.crc, what)

    def _check_stored(self, record: Record) -> None:
        if record.method != STORED:
            raise self._error(
                f"record {shown(record.name)}: got compression method {record.method}, wanted a stored record; "
                "was the file packed again? Save it anew with the framework that made it"
            )

    def _inflate(self, record: Record, place: str) -> bytes:
        self._inflated += record.size
        most = 3 * self._size // 2 + SLACK
        if self._inflated > most:
            raise self._error(
                f"{place}: with it the records claim to inflate to {self._inflated} bytes, wanted at most {most} of a "
                f"file of {self._size}: refused as a decompression bomb; save it without compression (np.savez)"
            )
        inflater = zlib.decompressobj(-15)
        try:
            content = inflater.decompress(self._bytes(self._starts[record.name], record.packed_size), record.size + 1)
        except zlib.error as error:
            raise self._error(f"{place}: its compressed data is damaged ({error})") from error
        if len(content) != record.size or not inflater.eof or inflater.unused_data:
            raise self._error(f"{place}: its data does not inflate to the {record.size} bytes it declares")
        return content

    def _find_directory(self) -> tuple[int, int, int]:
        """Offset, length and number of records of the central directory, which must end where the end record begins."""
        end_at = self._size - END.size
        if end_at < 0 or not (raw := self._bytes(end_at, END.size)).startswith(b"PK\x05\x06"):
            raise self._error(
                "it begins as a zip but does not end as one, so it was cut off or had bytes appended; "
                "copy or download it again"
            )
        _, disk, first_disk, here, count, length, offset, comment = END.unpack(raw)
        if disk or first_disk or here != count or comment:
            raise self._error("it is a zip in several parts or with a comment; wanted one plain archive")
        locator_at = end_at - LOCATOR64.size
        if locator_at >= 0 and (locator := self._bytes(locator_at, LOCATOR64.size)).startswith(b"PK\x06\x07"):
            end_at = LOCATOR64.unpack(locator)[2]
            offset, length, count = self._read_end64(end_at, locator_at, (offset, length, count))
        if offset + length != end_at:
            raise self._error(f"its directory ends at byte {offset + length}, wanted {end_at}: it is damaged")
        return offset, length, count

    def _read_end64(self, end_at: int, locator_at: int, short: tuple[int, int, int]) -> tuple[int, int, int]:
        if end_at + END64.size != locator_at:
            raise self._error(f"its zip64 end record is at {end_at}, wanted {locator_at - END64.size}")
        fields = END64.unpack(self._bytes(end_at, END64.size))
        signature, disk, first_disk, here, count, length, offset = fields[0], *fields[4:10]
        if signature != b"PK\x06\x06" or disk or first_disk or here != count:
            raise self._error("its zip64 end record is damaged")
        for long, brief, mask in zip((offset, length, count), short, (MASK32, MASK32, MASK16), strict=True):
            if brief not in (long, mask):
                raise self._error(f"its two end records disagree: {brief} and {long}")
        return offset, length, count

    def _parse_record(self, directory: bytes, position: int) -> tuple[Record, int]:
        if position + CENTRAL.size > len(directory) or directory[position : position + 4] != b"PK\x01\x02":
            raise self._error("its directory is damaged")
        fields = CENTRAL.unpack_from(directory, position)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length, disk, header = *fields[10:14], fields[16]
        name_at = position + CENTRAL.size
        extra_at = name_at + name_length
        position = extra_at + extra_length + comment_length
        if position > len(directory) or disk not in (0, MASK16):
            raise self._error("its directory is damaged")
        raw_name = directory[name_at:extra_at]
        if MASK32 in (packed, size, header):
            extra = directory[extra_at : extra_at + extra_length]
            size, packed, header = self._widen(extra, (size, packed, header))
        record = Record(self._decode(raw_name, flags), raw_name, flags, method, crc, packed, size, header)
        if flags & ENCRYPTED:
            raise self._error(f"record {shown(record.name)} is encrypted; decrypt the file first")
        if method == STORED and packed != size:
            raise self._error(f"record {shown(record.name)} is stored, but its two sizes are {packed} and {size}")
        return record, position

    def _widen(self, extra: bytes, short: tuple[int, int, int]) -> tuple[int, int, int]:
        """The 64-bit values of the zip64 extra field in place of those that are all ones."""
        position = 0
        while position + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, position)
            body = extra[position + 4 : position + 4 + length]
            position += 4 + length
            if kind != 1:
                continue
            values = [int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body) - 7, 8)]
            if len(values) < short.count(MASK32):
                break
            size, packed, header = (values.pop(0) if value == MASK32 else value for value in short)
            return size, packed, header
        raise self._error("a record lacks its 64-bit sizes")

    def _decode(self, raw: bytes, flags: int) -> str:
        try:
            name = raw.decode("utf-8" if flags & UTF8 else "cp437")
        except UnicodeDecodeError:
            raise self._error(f"a record's name is not UTF-8: {raw[:40]!r}") from None
        if not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
            raise self._error(f"a record is called {shown(name)}; wanted a relative path inside the archive")
        return name

    def _check_local_headers(self, directory_at: int) -> dict[str, int]:
        """Where each record's data begins; local headers must say what the directory says, and nothing may overlap."""
        starts = {}
        free_from = 0
        for record in sorted(self.records.values(), key=lambda record: record.header):
            place = f"record {shown(record.name)}"
            if record.header < free_from or record.header + LOCAL.size > directory_at:
                raise self._error(f"{place} overlaps another or lies outside the file")
            fields = LOCAL.unpack(self._bytes(record.header, LOCAL.size))
            signature, flags, method, crc, packed, size = fields[0], fields[2], fields[3], *fields[6:9]
            start = record.header + LOCAL.size + fields[9] + fields[10]
            free_from = start + record.packed_size
            if free_from > directory_at:
                raise self._error(f"{place} reaches beyond the end of the data; the file is damaged")
            if self._bytes(record.header + LOCAL.size, fields[9]) != record.raw_name:
                raise self._error(f"{place} has another name in its own header; the file is damaged or forged")
            same = signature == b"PK\x03\x04" and method == record.method and not flags & ENCRYPTED
            if not flags & SIZES_FOLLOW:
                same = same and crc == record.crc
                same = same and packed in (record.packed_size, MASK32) and size in (record.size, MASK32)
            if not same:
                raise self._error(f"{place}: its own header and the directory disagree; the file is damaged or forged")
            starts[record.name] = start
        return starts

    def _record(self, name: str) -> Record:
        try:
            return self.records[name]
        except KeyError:
            raise self._error(f"there is no record {shown(name)} in it") from None

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self._size:
            raise self._error(f"bytes {offset} to {offset + length} are wanted of {self._size}: it was cut off")
        self._file.seek(offset)
        content = self._file.read(length)
        if len(content) != length:
            raise self._error("it became shorter while it was read")
        return content

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: {message}")
