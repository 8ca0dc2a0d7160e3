"""Fill a stage's settings: class defaults, then a YAML file, then `--set key=value`."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nucleipel.errors import ConfigError

C = TypeVar("C", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML as people write it: `1e-3` is a number, a repeated key is a mistake."""


# YAML 1.1, which PyYAML follows, wants `1.0e-3` and reads `1e-3` as a string
_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{key}' is given twice", node.start_mark
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def load_config(kind: type[C], *, file: Path | None = None, assignments: Sequence[str] = ()) -> C:
    """Settings of one stage, checked.

    `assignments` are `key=value` texts; dots reach into groups
    (`network.features=[16, 32]`), values are read as YAML.

    Raises
    ------
    ConfigError
        One line with the file (or `--set`), the key, its value and the expected
        values; for an unknown key, the nearest known one.
    """
    fields = _read_yaml(file) if file else {}
    _check(kind, fields, where=str(file))
    for assignment in assignments:
        _assign(fields, assignment)
    return _check(kind, fields, where="--set" if assignments else str(file or kind.__name__))


def settings_from(
    kind: type[C], values: Mapping[str, Any], *, where: str, file: Path | None = None
) -> C:
    """Settings of one stage from values by name, over those of a file; checked as `load_config`.

    `where` names the caller in messages. A group of settings is a mapping.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    fields = _read_yaml(file) if file else {}
    _check(kind, fields, where=str(file))
    return _check(kind, {**fields, **values}, where=where)


def _read_yaml(file: Path) -> dict[str, Any]:
    if file.exists() and not file.is_file():  # a pipe would be waited on for ever
        kind = "a folder" if file.is_dir() else "no regular file"
        raise ConfigError(f"{file}: is {kind}; expected a YAML file")
    try:
        fields = _parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: no valid YAML: {_one_line(error)}") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ConfigError(f"{file}: holds a {type(fields).__name__}; expected 'key: value' lines")
    return fields


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)


def _assign(fields: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {assignment}: expected key=value")
    try:
        value = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: no valid value: {_one_line(error)}") from error
    *groups, name = key.strip().split(".")
    for group in groups:
        inner = fields.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {assignment}: '{group}' is no group of settings")
        fields = inner
    fields[name] = value


def _check(kind: type[C], fields: dict[str, Any], *, where: str) -> C:
    try:
        # strict JSON mode takes lists for tuples, but no text for a number and no 1 for yes
        return kind.model_validate_json(json.dumps(fields), strict=True)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}; expected numbers, text and lists") from error
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(kind, error)}") from error


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys(kind)
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        return f"unknown key '{key}'; did you mean '{near[0]}'?"
    reason = first["msg"].removeprefix("Value error, ")
    value = json.dumps(first["input"], default=str)
    return f"{key} is {value}: {reason}" if key else reason


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in kind.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _keys(field.annotation, f"{prefix}{name}.")
    return keys


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
