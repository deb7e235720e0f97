# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from socker.value import Value


class Point(Value):
    x: int
    y: int = 7

    def _check(self) -> None:
        if self.x < 0:
            raise ValueError("negative")


class Place(Value):
    x: int
    y: int = 7


def test_value_takes_fields_and_defaults() -> None:
    assert (Point(x=1).x, Point(x=1).y) == (1, 7)


@pytest.mark.parametrize("given", [{}, {"x": 1, "z": 2}])
def test_value_with_missing_or_unknown_field_is_not_made(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point wants x|Point knows no z"):
        Point(**given)


def test_value_takes_no_positions() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]


def test_value_that_is_not_valid_is_not_made() -> None:
    with pytest.raises(ValueError, match="negative"):
        Point(x=-1)


def test_value_does_not_change() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="does not change"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="does not change"):
        del point.x
    with pytest.raises(AttributeError):
        point.z = 2  # type: ignore[attr-defined]
    assert not hasattr(point, "__dict__")


def test_value_compares_and_hashes_by_kind_and_fields() -> None:
    assert Point(x=1) == Point(x=1, y=7)
    assert hash(Point(x=1)) == hash(Point(x=1))
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Place(x=1)
    assert Point(x=1) != "Point"


def test_value_shows_its_fields() -> None:
    assert repr(Point(x=1)) == "Point(x=1, y=7)"
