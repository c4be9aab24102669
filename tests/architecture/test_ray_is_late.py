"""No test imports Ray while tests are collected: it reads its token and network then, before a head has set them."""

from __future__ import annotations


def test_no_module_that_was_collected_imports_ray(ray_came_with: list[str]) -> None:
    assert ray_came_with == [], "imports Ray when it is collected"
