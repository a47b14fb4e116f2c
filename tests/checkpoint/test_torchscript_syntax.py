"""TorchScript's code as a tree: what straight computations need, and an error for the rest."""

from __future__ import annotations

import pytest

from fastgru.checkpoint.torchscript.syntax import parse_function
from fastgru.checkpoint.torchscript.tree import (
    Assign,
    Attribute,
    Call,
    Constant,
    DictItems,
    Evaluate,
    For,
    If,
    Index,
    Items,
    ListItems,
    Name,
    Return,
    SetAttribute,
    While,
    With,
)
from fastgru.errors import UnsupportedModelError

HEAD = (
    "def f(self: __torch__.Net,\n    x: Optional[Tensor]=None,\n    sizes: List[Tuple[int, str]]=[1, -2]) -> Tensor:\n"
)


def body(*lines: str):
    return parse_function(HEAD + "".join(f"  {line}\n" for line in lines), "here").body


def test_parameters_have_their_defaults():
    function = parse_function(HEAD + "  pass\n", "here")
    assert function.parameters == (("self", None), ("x", Constant(None)), ("sizes", Items((Constant(1), Constant(-2)))))
    assert function.body == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1", Constant(1)),
        ("-3", Constant(-3)),
        ("2.", Constant(2.0)),
        ("1.5e-05", Constant(1.5e-5)),
        ("True", Constant(True)),
        ("None", Constant(None)),
        ('"a, b"', Constant("a, b")),
        ("'x'", Constant("x")),
        (r'"it\'s \"so\" \\ \n\t"', Constant('it\'s "so" \\ \n\t')),
        (r'"\303\251\x41"', Constant("\u00e9A")),
        ("-inf", Constant(-float("inf"))),
        ("x", Name("x")),
        ("(x)", Name("x")),
        ("()", Items(())),
        ("(x,)", Items((Name("x"),))),
        ("[x, 1, ]", Items((Name("x"), Constant(1)))),
        ("self.a.b", Attribute(Attribute(Name("self"), "a"), "b")),
        ("(x)[0]", Index(Name("x"), (Constant(0),))),
        (
            "torch.f(x, 1, dim=2, )",
            Call(Attribute(Name("torch"), "f"), (Name("x"), Constant(1)), (("dim", Constant(2)),)),
        ),
        ("(self).f()", Call(Attribute(Name("self"), "f"), (), ())),
    ],
)
def test_expressions(text, wanted):
    assert body(f"y = {text}") == [Assign(("y",), wanted, False)]
    assert body(f"return {text}") == [Return(wanted)]


def test_statements():
    assert body("y : Optional[Tensor] = x") == [Assign(("y",), Name("x"), False)]
    assert body("a, b, = x") == [Assign(("a", "b"), Name("x"), True)]
    assert body("a, b = x, 1") == [Assign(("a", "b"), Items((Name("x"), Constant(1))), True)]
    assert body("f(x)") == [Evaluate(Call(Name("f"), (Name("x"),), ()))]
    assert body("return a, b") == [Return(Items((Name("a"), Name("b"))))]


def test_branches_nest():
    got = body("if a:", "  if b:", "    x = 1", "  else:", "    pass", "  y = 2", "else:", "  x = 3", "return x")
    inner = If(Name("b"), [Assign(("x",), Constant(1), False)], [])
    outer = If(Name("a"), [inner, Assign(("y",), Constant(2), False)], [Assign(("x",), Constant(3), False)])
    assert got == [outer, Return(Name("x"))]


def test_loops_and_contexts_have_bodies():
    assert body("for i in range(3):", "  x = i", "return x") == [
        For("i", Call(Name("range"), (Constant(3),), ()), [Assign(("x",), Name("i"), False)]), Return(Name("x"))
    ]  # fmt: skip
    assert body("while a:", "  a = f(a)") == [
        While(Name("a"), [Assign(("a",), Call(Name("f"), (Name("a"),), ()), False)])
    ]
    assert body("with a:", "  f(x)", "y = 1") == [
        With(Name("a"), [Evaluate(Call(Name("f"), (Name("x"),), ()))]), Assign(("y",), Constant(1), False)
    ]  # fmt: skip


def test_dicts_lists_and_attributes():
    assert body('y = {"a": x, "b": 1}') == [
        Assign(("y",), DictItems(((Constant("a"), Name("x")), (Constant("b"), Constant(1)))), False)
    ]
    assert isinstance(body("y = [x]")[0].value, ListItems) and isinstance(body("y = (x,)")[0].value, Items)
    assert body("a.b = 1") == [SetAttribute(Attribute(Name("a"), "b"), Constant(1))]
    function = parse_function("def f(x: Optional[Tensor]) -> Tensor:\n  return x\n", "here")
    assert function.types == (Index(Name("Optional"), (Name("Tensor"),)),)


@pytest.mark.parametrize(
    "line",
    [
        "y = x + 1",
        "y = x @ w",
        "for i range(3):",
        "for i in range(3)",
        "while True",
        "with x as y:",
        "y = {1: 2",
        "y = {1}",
        "y = lambda: 1",
        "y = (x",
        "y = x)",
        "= 1",
        "f(x) = 1",
        "else:",
        "y = ",
        "y = [1 2]",
        "assert x",
        'y = "unended',
        "y = x; z = x",
        "y = \u00e9",
        "y = x.",
        "y = 1" + "0" * 50,
    ],
)
def test_what_is_not_read_is_an_error_that_names_the_place(line):
    with pytest.raises(UnsupportedModelError, match=r"^here: "):
        body(line)


@pytest.mark.parametrize("text", ["(" * 100 + "x" + ")" * 100, "f(" * 100 + ")" * 100, "[" * 5000 + "]" * 5000])
def test_deep_expressions_are_an_error(text):
    with pytest.raises(UnsupportedModelError, match="nested deeper"):
        body(f"y = {text}")


def test_deep_blocks_are_an_error():
    with pytest.raises(UnsupportedModelError, match="nested deeper"):
        body(*(" " * 2 * depth + "if a:" for depth in range(100)))


def test_long_functions_are_an_error():
    with pytest.raises(UnsupportedModelError, match="words"):
        body(*("y = x" for _ in range(20_000)))


def test_nothing_is_an_error():
    for source in ("", "\n\n", "x = 1\n", "def\n", "def f(\n", "def f(x y): \n"):
        with pytest.raises(UnsupportedModelError):
            parse_function(source, "here")
