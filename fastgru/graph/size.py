"""Sizes of axes: numbers, or sums and products of symbols such as ``batch`` and ``steps``.

A size is an ``int`` or an ``Expression``, a polynomial over symbols, whole quotients such as ``(steps - 1) // 2``, and
maxima and minima. Arithmetic gives an ``int`` again where no symbol is left. Equal polynomials are equal objects, so
that ``batch * steps`` of one operation is known to be that of another. Nothing here knows an array or an operation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Union

from ..errors import ShapeError

__all__ = [
    "Applied", "Expression", "Size", "Sizes", "Unequal", "evaluate", "extreme", "is_symbol", "product", "quotient",
    "size_text", "smallest", "solved", "substitute", "symbol",
]  # fmt: skip

MAX_TERMS = 64  # of one size: real models have one to three
LARGEST = 2**48  # of a coefficient or a known size: no memory holds it
MAX_DEPTH = 40  # quotients inside quotients: a stack of strided convolutions


class Applied:
    """What sums and products cannot say, as a symbol of its own: ``one // other``, their maximum or their minimum."""

    __slots__ = ("depth", "name", "one", "other", "text")

    def __init__(self, name: str, one: Size, other: Size) -> None:
        self.name, self.one, self.other = name, one, other  # of "//", "max", "min"
        self.depth: int = 1
        atoms = [atom for size in (one, other) for term, _ in _terms(size) for atom in term]
        self.depth += max((atom.depth for atom in atoms if isinstance(atom, Applied)), default=0)
        if self.depth > MAX_DEPTH:
            raise ShapeError(f"a size is computed of others in more than {MAX_DEPTH} turns")
        divisor = other if isinstance(other, int) else f"({other})"
        self.text = f"({one}) // {divisor}" if name == "//" else f"{name}({one}, {other})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Applied) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


Atom = Union[str, Applied]
Atoms = tuple[Atom, ...]


class Expression:
    """A polynomial with at least one symbol: ``terms`` are (atoms, coefficient), in an order of their own.

    Examples
    --------
    >>> steps, batch = symbol("steps"), symbol("batch")
    >>> (steps - 4) * batch
    batch * steps - 4 * batch
    >>> (steps * 8) // 8 == steps, steps - steps
    (True, 0)
    >>> evaluate((steps - 1) // 2 + 1, {"steps": 8})
    4
    """

    __slots__ = ("terms",)

    def __init__(self, terms: tuple[tuple[Atoms, int], ...]) -> None:
        self.terms = terms

    def __add__(self, other: Size) -> Size:
        terms = dict(self.terms)
        for atoms, count in _terms(other):
            terms[atoms] = terms.get(atoms, 0) + count
        return _size(terms)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + other * -1

    def __rsub__(self, other: Size) -> Size:
        return self * -1 + other

    def __mul__(self, other: Size) -> Size:
        terms: dict[Atoms, int] = {}
        for one, count in self.terms:
            for two, times in _terms(other):
                atoms = tuple(sorted((*one, *two), key=str))
                terms[atoms] = terms.get(atoms, 0) + count * times
        return _size(terms)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: Size) -> Size:
        """Rounded down; exact parts leave the quotient, so that ``(2 * steps + 1) // 2`` is ``steps``."""
        if isinstance(divisor, Expression):
            whole = quotient([self], [divisor])
            return _one(Applied("//", self, divisor)) if whole is None else whole
        if divisor < 1:
            raise ShapeError(f"a size is divided by {divisor}, wanted a whole number of at least 1")
        if divisor == 1:
            return self
        exact = {atoms: count // divisor for atoms, count in self.terms if count % divisor == 0}
        rest = _size({atoms: count for atoms, count in self.terms if count % divisor})
        if isinstance(rest, int):
            return _size(exact) + rest // divisor
        constant = dict(rest.terms).get((), 0)
        rest = rest - constant + constant % divisor
        assert isinstance(rest, Expression)
        return _size(exact) + constant // divisor + _one(Applied("//", rest, divisor))

    def __rfloordiv__(self, other: int) -> Size:
        return _one(Applied("//", other, self)) if other else 0

    def __mod__(self, divisor: Size) -> Size:
        return self - (self // divisor) * divisor

    def __rmod__(self, other: int) -> Size:
        return other - (other // self) * self

    def symbols(self) -> frozenset[str]:
        """The names of the symbols in it."""
        found: set[str] = set()
        for atoms, _ in self.terms:
            for atom in atoms:
                if isinstance(atom, Applied):
                    for part in (atom.one, atom.other):
                        found |= part.symbols() if isinstance(part, Expression) else frozenset()
                else:
                    found.add(atom)
        return frozenset(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def __repr__(self) -> str:
        text = ""
        for atoms, count in sorted(self.terms, key=lambda term: (-len(term[0]), str(term[0]))):
            factors = [str(atom) for atom in atoms]
            if abs(count) != 1 or not factors:
                factors.insert(0, str(abs(count)))
            if len(factors) > 1 or (count < 0 and not text):  # a quotient binds no tighter than a product or a sign
                factors = [f"({each})" if "//" in each else each for each in factors]
            sign = "-" if count < 0 else "+"
            text += (f" {sign} " if text else "-" * (count < 0)) + " * ".join(factors)
        return text


Size = Union[int, Expression]
Sizes = tuple[Size, ...]


def symbol(name: str) -> Expression:
    """The size that is called ``name``."""
    return Expression((((name,), 1),))


def is_symbol(size: Size) -> bool:
    """Whether a size is one symbol and nothing else."""
    return isinstance(size, Expression) and str(size) in size.symbols()


def extreme(name: str, one: Size, other: Size) -> Size:
    """The maximum ("max") or the minimum ("min") of two sizes."""
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other) if name == "max" else min(one, other)
    if isinstance(one - other, int):
        first = one - other > 0  # type: ignore[operator]
        return one if first == (name == "max") else other
    return _one(Applied(name, one, other))


def _one(atom: Atom) -> Size:
    return _size({(atom,): 1})


def _terms(size: Size) -> Iterable[tuple[Atoms, int]]:
    return size.terms if isinstance(size, Expression) else (((), size),) if size else ()


def _size(terms: dict[Atoms, int]) -> Size:
    """The size that these terms are, a number where no symbol is left."""
    kept = {atoms: count for atoms, count in terms.items() if count}
    if len(kept) > MAX_TERMS or any(abs(count) > LARGEST for count in kept.values()):
        raise ShapeError(f"a size has more than {MAX_TERMS} terms or is beyond {LARGEST}")
    if not kept or set(kept) == {()}:
        return kept.get((), 0)
    return Expression(tuple(sorted(kept.items(), key=lambda term: str(term[0]))))


class Unequal(ShapeError):
    """Two sizes must be the same and are not known to be; they may be where one is no number."""

    def __init__(self, message: str, one: Size = 0, other: Size = 0) -> None:
        super().__init__(message)
        self.one, self.other = one, other


def solved(one: Size, other: Size) -> tuple[str, Size] | None:
    """The symbol, and the size that it must have, for two sizes to be the same; None where there is no such symbol.

    Examples
    --------
    >>> solved(3 * symbol("features") + 2, 14), solved(symbol("steps"), symbol("batch"))
    (('features', 4), ('batch', steps))
    """
    for size, wanted in ((other, one), (one, other)):
        if isinstance(size, Expression) and isinstance(wanted, Expression):
            if str(size) in size.symbols() and str(size) not in wanted.symbols():
                return str(size), wanted
        elif isinstance(size, Expression) and len(size.symbols()) == 1:
            (name,) = size.symbols()
            factor, rest = dict(size.terms).get((name,), 0), dict(size.terms).get((), 0)
            number = (wanted - rest) // factor if factor else 0
            if isinstance(number, int) and number > 0 and substitute(size, {name: number}) == wanted:
                return name, number
    return None


def product(sizes: Iterable[Size]) -> Size:
    """All sizes multiplied; 1 of none."""
    total: Size = 1
    for size in sizes:
        total = total * size
        if isinstance(total, int) and abs(total) > LARGEST:
            raise ShapeError(f"an array of more than {LARGEST} numbers")
    return total


def quotient(sizes: Sequence[Size], divisors: Sequence[Size]) -> Size | None:
    """The product of ``sizes`` over that of ``divisors``, None where it is not known to be whole.

    Equal factors cancel before anything is multiplied out: of (batch, steps - 4, 64) over (steps - 4, 8) 8 * batch is
    left.

    Examples
    --------
    >>> batch, steps = symbol("batch"), symbol("steps")
    >>> quotient([batch, steps - 4, 64], [steps - 4, 8])
    8 * batch
    >>> quotient([batch, 7], [2]) is None
    True
    """
    above, below = list(sizes), []
    for divisor in divisors:
        if divisor in above:
            above.remove(divisor)
        else:
            below.append(divisor)
    total, by = product(above), product(below)
    if isinstance(by, int):
        return _divided(total, by)
    if len(by.terms) > 1:
        return None
    ((atoms, count),) = by.terms
    terms: dict[Atoms, int] = {}
    for own, times in _terms(total):
        left = list(own)
        for atom in atoms:
            if atom not in left:
                return None
            left.remove(atom)
        terms[tuple(left)] = times
    return _divided(_size(terms), count)


def _divided(size: Size, by: int) -> Size | None:
    if by == 0 or any(count % by for _, count in _terms(size)):
        return None
    return _size({atoms: count // by for atoms, count in _terms(size)})


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The number that a size is where its symbols have these values."""
    if isinstance(size, int):
        return size
    total = 0
    for atoms, count in size.terms:
        for atom in atoms:
            count *= _number(atom, values)
        total += count
    return total


def _number(atom: Atom, values: Mapping[str, int]) -> int:
    if not isinstance(atom, Applied):
        if atom not in values:
            raise ShapeError(f"the size {atom[:40]} is one of no input")
        return values[atom]
    one, other = evaluate(atom.one, values), evaluate(atom.other, values)
    if atom.name != "//":
        return max(one, other) if atom.name == "max" else min(one, other)
    if other == 0:
        raise ShapeError(f"{atom} divides by zero")
    return one // other


def smallest(size: Size) -> int:
    """A number that a size is not below where no symbol is 0; 0 where it is not known."""
    if isinstance(size, int):
        return size
    if any(count < 0 for atoms, count in size.terms if atoms):
        return 0
    return max(0, sum(count * math.prod(map(_smallest, atoms)) for atoms, count in size.terms))


def _smallest(atom: Atom) -> int:
    if not isinstance(atom, Applied):
        return 1
    one, other = smallest(atom.one), smallest(atom.other)
    if atom.name == "//":
        return one // atom.other if isinstance(atom.other, int) else 0
    return max(one, other) if atom.name == "max" else min(one, other)


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """The size with others in the place of some symbols."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for atoms, count in size.terms:
        term: Size = count
        for atom in atoms:
            if isinstance(atom, Applied):
                one, other = substitute(atom.one, values), substitute(atom.other, values)
                if atom.name == "//":
                    term = term * (one // other if other != 0 else 0)
                else:
                    term = term * extreme(atom.name, one, other)
            else:
                term = term * values.get(atom, symbol(atom))
        total = total + term
    return total


def size_text(sizes: Iterable[Size]) -> str:
    """A shape for a message: ``(batch, steps - 4, 64)``."""
    texts = [str(size) for size in sizes]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
