"""Tests of one `xdist_group` run in one process, under pytest 9.2 too.

pytest-xdist 3.8 appends the group to an attribute that pytest no longer reads from 9.2 on, and
`--dist loadgroup` then scatters the tests without a word. Goes when an xdist that knows better
is pinned.
"""

from __future__ import annotations

import pytest
from _pytest import nodeid


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if grouped := getattr(item, "_nodeid", None):
            item._id = nodeid.coerce_node_id(grouped)  # type: ignore[attr-defined]
