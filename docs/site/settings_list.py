"""The directive `settings`: a list of a command's settings, made from its class.

    ```{settings} TileConfig
    ```

One entry a setting: its name as `--set` takes it, its type, default and meaning.
"""

import ast
import inspect
import re
import textwrap
from copy import copy
from typing import Any, Literal, Union, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nucleipel import config
from nucleipel.instances.instance_rule import InstanceRule


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", SettingsList)
    return {"parallel_read_safe": True}


class SettingsList(SphinxDirective):
    """A list of the fields of a class of `nucleipel.config`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Build the list; groups of settings become entries with a dot in their names."""
        listed = nodes.definition_list(classes=["settings"])
        for name, field in _fields(getattr(config, self.arguments[0])):
            listed += self._setting(name, field)
        return [listed]

    def _setting(self, name: str, field: FieldInfo) -> nodes.definition_list_item:
        kind, default = _with_bounds(_type(field.annotation), field), _default(field)
        facts = [kind, "required" if field.is_required() else f"default {default}"]
        term = nodes.term("", "", nodes.strong(text=name))
        term += nodes.inline(text="  " + "; ".join(facts if default else facts[:1]))
        meaning, _ = self.state.inline_text(_meaning(name, field), self.lineno)
        body = nodes.definition("", nodes.paragraph("", "", *meaning))
        return nodes.definition_list_item("", term, body)


def _fields(kind: type[BaseModel], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    found = []
    for name, field in kind.model_fields.items():
        inner = _group(field.annotation)
        if inner is None:
            described = copy(field)
            described.description = field.description or _inherited(kind, name)
            found.append((f"{prefix}{name}", described))
        else:
            each = "NAME." if get_origin(field.annotation) is dict else ""
            found += _fields(inner, f"{prefix}{name}.{each}")
    return found


def _inherited(kind: type[BaseModel], name: str) -> str | None:
    """The meaning of a setting whose class only changes its default."""
    bases = [base for base in kind.__mro__[1:] if hasattr(base, "model_fields")]
    fields = [base.model_fields[name] for base in bases if name in base.model_fields]
    return next((field.description for field in fields if field.description), None)


def _group(annotation: Any) -> type[BaseModel] | None:
    """The class of a group of settings, also of one that may be absent."""
    for kind in (annotation, *get_args(annotation)):
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            return kind
    return None


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return ""
    if origin is Literal:
        return ", ".join(str(part) for part in parts)
    if origin in (tuple, list, dict, frozenset):
        return f"list of {_type(parts[0])}" if origin is not dict else "mapping"
    if hasattr(annotation, "__metadata__"):
        return _type(parts[0])
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return " or ".join(dict.fromkeys(filter(None, map(_type, parts))))
    names = {"str": "text", "bool": "true, false", "int": "integer", "float": "number"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name.lower())


def _with_bounds(kind: str, field: FieldInfo) -> str:
    low = next((item.ge for item in field.metadata if hasattr(item, "ge")), None)
    high = next((item.le for item in field.metadata if hasattr(item, "le")), None)
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return f"{kind}, from {low}" if low is not None else kind


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def _meaning(name: str, field: FieldInfo) -> str:
    text = field.description or INSTANCE_RULE.get(name.rpartition(".")[2], "")
    # one backtick is a literal in docstrings, and needs two in reStructuredText
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", " ".join(text.split()))


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """The docstring below each field of a class, which Python itself does not keep."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
    return {
        field.target.id: text.value.value
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


INSTANCE_RULE = _attribute_docstrings(InstanceRule)
