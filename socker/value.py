# SPDX-License-Identifier: Apache-2.0
"""
Values: frozen, slotted, keyword-only, checked when they are made.

`class Point(Value)` behaves as `@dataclass(frozen=True, slots=True, kw_only=True)` does, and type checkers see it as
exactly that. It exists for its cost only: the standard decorator takes 7 ms to import (it needs `inspect`) and 0.5 ms
a class, about as much as all the rest of a policy child's own work, and every first step of a job would pay it.
For the same reason modules write `TYPE_CHECKING = False`, which type checkers take for true: typing takes 3 ms.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, dataclass_transform
else:

    def dataclass_transform(**_options: object) -> Callable[[type], type]:
        """Mark nothing: only type checkers read the mark."""
        return lambda decorated: decorated


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _ValueType(type):
    """Turn the annotations of a class body into slots, defaults and a list of fields."""

    _fields: tuple[str, ...]  # with those of the bases
    _defaults: dict[str, object]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, object]) -> _ValueType:
        annotations = namespace.get("__annotations__", {})
        own = tuple(annotations) if isinstance(annotations, dict) else ()
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        made = super().__new__(mcs, name, bases, {**namespace, "__slots__": own})
        above = [base for base in bases if isinstance(base, _ValueType)]
        made._fields = (*(field for base in above for field in base._fields), *own)
        made._defaults = {key: value for base in above for key, value in base._defaults.items()} | defaults
        return made


class Value(metaclass=_ValueType):
    """Base of every value: compares and hashes by its fields and never changes."""

    if not TYPE_CHECKING:

        def __init__(self, **given: object) -> None:
            kind = type(self)
            for field in kind._fields:
                if field in given:
                    value = given.pop(field)
                elif field in kind._defaults:
                    value = kind._defaults[field]
                else:
                    raise TypeError(f"{kind.__name__} wants {field}")
                object.__setattr__(self, field, value)
            if given:
                raise TypeError(f"{kind.__name__} knows no {', '.join(given)}")
            self._check()

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse: a value does not change."""
            raise AttributeError(f"{type(self).__name__} does not change: {name}")

        def __delattr__(self, name: str) -> None:
            """Refuse: a value does not change."""
            raise AttributeError(f"{type(self).__name__} does not change: {name}")

    def _check(self) -> None:
        """Raise when the fields do not make a valid value."""

    def but(self, **changes: object) -> Self:
        """Return the same value with other fields."""
        kept = {field: getattr(self, field) for field in type(self)._fields}
        return type(self)(**kept | changes)

    def _astuple(self) -> tuple[object, ...]:
        return tuple(getattr(self, field) for field in type(self)._fields)

    def __eq__(self, other: object) -> bool:
        """Compare by kind and fields."""
        if type(other) is not type(self):
            return NotImplemented
        return self._astuple() == other._astuple()

    def __hash__(self) -> int:
        """Hash by kind and fields."""
        return hash((type(self), self._astuple()))

    def __repr__(self) -> str:
        """Name the kind and every field."""
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in type(self)._fields)
        return f"{type(self).__name__}({shown})"
