"""The skeleton of an HDF5 file, read a little at a time.

Addresses in a file may lead round in a cycle or beyond its end, and links to other files. So every block on the way to
a dataset is checked here, when the dataset is first asked for, to lie in the file, to be of the kind expected and to be
reached once. No data is decoded here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..span import Span
from ..text import shown
from .blocks import MAX_OBJECTS, UNDEFINED, Blocks
from .dense import LINKS, read_dense
from .headers import Message, read_messages
from .symbols import SOFT_LINK, TREE_CACHED, read_symbols

__all__ = ["MAX_NAME", "Node", "Structure"]

MAX_DEPTH = 32  # of groups
MAX_NAME = 1024  # of a path

# Kinds of messages.
LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT, SYMBOL_TABLE = 0x02, 0x03, 0x06, 0x07, 0x08, 0x11
# What the flags of a link say: how wide the length of its name is, and which fields it has.
LENGTH_WIDTH, ORDER_STORED, KIND_STORED, CHARACTERS_STORED = 0x03, 0x04, 0x08, 0x10
HARD = 0
COMPACT, CONTIGUOUS = 0, 1  # layouts of data
FLOAT, OPAQUE = 1, 5  # classes of a datatype; Keras's bfloat16 is opaque


class _Link(NamedTuple):
    """What a group says of a member."""

    kind: str  # "" of a hard link, which is all that is followed
    header: int = UNDEFINED
    table: tuple[int, int] | None = None  # what the group remembers of a member's own table


@dataclass(frozen=True, eq=False)
class Node:
    """A group or a dataset whose header is sound; ``path`` is empty for the root."""

    path: str
    messages: tuple[Message, ...]

    @property
    def is_group(self) -> bool:
        return any(message.kind in (SYMBOL_TABLE, LINK_INFO) for message in self.messages)

    def all(self, kind: int) -> list[Message]:
        """The messages of one kind."""
        return [message for message in self.messages if message.kind == kind]

    def below(self, name: str) -> str:
        """The path of a member."""
        return f"{self.path}/{name}" if self.path else name


class Structure:
    """The groups and datasets of a file; whatever is handed out has been checked.

    Every method raises a ``CheckpointError`` where the file is damaged or breaks a rule.

    Parameters
    ----------
    span : Span
        The file from its signature on.
    where : str
        What messages begin with.
    base : int
        How many bytes of a user block came before the signature.
    """

    def __init__(self, span: Span, where: str, base: int = 0) -> None:
        self.blocks = Blocks(span, where)
        self._leaf_size, self._node_size = 8, 32  # most entries of a symbol node and of a tree node
        self._links_left = MAX_OBJECTS
        self._links: dict[str, dict[str, _Link]] = {}
        self._nodes: dict[str, Node] = {}
        self.root = self._nodes[""] = self._node("", self._root_link(base))
        if not self.root.is_group:
            raise self.blocks.error("its root is not a group")

    def members(self, group: Node) -> Collection[str]:
        """The names in a group, sorted; none in a dataset."""
        if group.path not in self._links:
            self._links[group.path] = self._read_links(group)
        return self._links[group.path].keys()

    def child(self, group: Node, name: str) -> Node:
        """The member of that name, which must be there, behind a hard link."""
        path = group.below(name)
        if path not in self._nodes:
            self.members(group)
            link = self._links[group.path][name]
            if link.kind:
                raise self.blocks.error_at(path, f"it is {link.kind} to somewhere else, which is refused")
            if len(path) > MAX_NAME or path.count("/") >= MAX_DEPTH:
                raise self.blocks.error_at(path, f"groups are nested deeper than {MAX_DEPTH}, or their names too long")
            self._nodes[path] = self._node(path, link)
        return self._nodes[path]

    def find(self, path: str) -> Node | None:
        """The object at a path from the root, or None where there is none."""
        node = self.root
        for name in path.split("/"):
            if name not in self.members(node):
                return None
            node = self.child(node, name)
        return node

    def unentered(self) -> list[str]:
        """Paths of those members of the groups asked for that were not asked for themselves."""
        groups = [node for node in self._nodes.values() if node.is_group]
        paths = (group.below(name) for group in groups for name in self.members(group))
        return [path for path in paths if path not in self._nodes]

    def walk(self, skip: Collection[str] = ()) -> Iterator[Node]:
        """Every group and dataset below the root, depth first; names in ``skip`` at the root are not entered."""
        waiting = [(self.root, iter([name for name in self.members(self.root) if name not in skip]))]
        while waiting:
            group, names = waiting[-1]
            name = next(names, None)
            if name is None:
                waiting.pop()
                continue
            node = self.child(group, name)
            yield node
            if node.is_group:
                waiting.append((node, iter(self.members(node))))

    def holds_floats(self, node: Node) -> bool:
        """Whether it is a dataset of a floating-point type, by its type alone."""
        types, layouts = node.all(DATATYPE), node.all(LAYOUT)
        if len(types) != 1 or len(layouts) != 1:
            raise self.blocks.error_at(node.path, "it has no type and layout of its own; wanted a group or a dataset")
        version_and_class, size = self.blocks.numbers("B3xI", types[0].at)
        kind = version_and_class & 15
        return (kind == FLOAT and size in (2, 4, 8)) or (kind == OPAQUE and size == 2)

    def check_layout(self, node: Node) -> None:
        """Only data in one piece of this file: other layouts lead to more trees, to filters or to other files."""
        (at,) = (message.at for message in node.all(LAYOUT))
        version, kind, older_kind = self.blocks.numbers("3B", at)
        if (older_kind if version in (1, 2) else kind) not in (COMPACT, CONTIGUOUS) or not 1 <= version <= 5:
            raise self.blocks.error_at(
                node.path,
                "it has chunked, compressed or virtual data, which is refused; save the model again without that",
            )
        if node.all(EXTERNAL_FILES):
            raise self.blocks.error_at(node.path, "its data lies in another file, which is refused")

    def _root_link(self, base: int) -> _Link:
        """What the superblock says of the root."""
        blocks = self.blocks
        version = blocks.number(8, 1)
        sizes = blocks.numbers("2B", 13 if version < 2 else 9)
        if version > 3 or sizes != (8, 8):
            raise blocks.error(f"it is of version {version}, or its addresses are not of 8 bytes")
        link = _Link("")
        if version < 2:
            leaf, internal = blocks.numbers("2H", 16)
            self._leaf_size, self._node_size = 2 * leaf, 2 * internal
            start, _, end, other, _, header, cached, _, tree, heap = blocks.numbers("4QQQII2Q", 24 + 4 * version)
            link = _Link("", header, (tree, heap) if cached == TREE_CACHED else None)
        else:
            start, other, end, header = blocks.numbers("4Q", 12)
            blocks.summed(0, 44)
            link = _Link("", header)
        if other != UNDEFINED:
            raise blocks.error("it has a driver or an extension of its own")
        if start != base or end - base > blocks.span.size:
            raise blocks.error(f"it should have {end} bytes from {start} on, and has {blocks.span.size} from {base} on")
        return link

    def _node(self, path: str, link: _Link) -> Node:
        node = Node(path, tuple(read_messages(self.blocks, link.header)))
        tables = [self.blocks.numbers("2Q", message.at) for message in node.all(SYMBOL_TABLE)]
        if len(tables) + len(node.all(LINK_INFO)) > 1:
            raise self.blocks.error_at(path, "it has several tables of members")
        if link.table is not None and tables not in ([], [link.table]):  # none: HDF5 forgets to forget it
            raise self.blocks.error_at(path, "it is remembered as another")
        return node

    def _read_links(self, group: Node) -> dict[str, _Link]:
        links: dict[str, _Link] = {}
        for raw, link in self._stored_links(group):
            name = raw.decode("utf-8", "replace")
            if name in ("", ".", "..") or "/" in name or "\ufffd" in name or not name.isprintable():
                raise self.blocks.error_at(group.below(name), "its name is not printable or is a path")
            if name in links:
                raise self.blocks.error_at(group.path, f"it has two members {shown(name)}")
            links[name] = link
            self._links_left -= 1
            if self._links_left < 0:
                raise self.blocks.error(f"it has more than {MAX_OBJECTS} objects")
        return dict(sorted(links.items()))

    def _stored_links(self, group: Node) -> Iterator[tuple[bytes, _Link]]:
        """The links of a group by name, from wherever its layout keeps them."""
        for message in group.all(SYMBOL_TABLE):
            tree, heap = self.blocks.numbers("2Q", message.at)
            for name, symbol in read_symbols(self.blocks, tree, heap, self._leaf_size, self._node_size):
                kind = "a SoftLink" if symbol.cached == SOFT_LINK else ""
                table = (symbol.tree, symbol.heap) if symbol.cached == TREE_CACHED else None
                yield name, _Link(kind, symbol.header, table)
        for message in group.all(LINK):
            yield self._link(message.at, message.length)
        for message in group.all(LINK_INFO):
            _, flags = self.blocks.numbers("2B", message.at)
            heap, tree = self.blocks.numbers("2Q", message.at + (10 if flags & 1 else 2))
            if heap != UNDEFINED:
                for piece in read_dense(self.blocks, heap, tree, LINKS):
                    yield self._link(piece.at, piece.length)

    def _link(self, at: int, length: int) -> tuple[bytes, _Link]:
        """A link of the newer layout, which has only the fields that its flags name."""
        blocks, end = self.blocks, at + length
        version, flags = blocks.numbers("2B", at)
        at += 2
        kind = HARD
        if flags & KIND_STORED:
            kind = blocks.number(at, 1)
            at += 1
        at += (8 if flags & ORDER_STORED else 0) + (1 if flags & CHARACTERS_STORED else 0)
        width = 1 << (flags & LENGTH_WIDTH)
        size = blocks.number(at, width)
        at += width
        if version != 1 or at + size + (8 if kind == HARD else 0) > end:
            raise blocks.error(f"a link at byte {at} is damaged")
        name = blocks.span.piece(at, size)
        if kind == HARD:
            return name, _Link("", blocks.number(at + size, 8))
        return name, _Link("a SoftLink" if kind == 1 else "an ExternalLink")
