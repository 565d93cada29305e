"""The allocator setting is taken on glibc and harmless elsewhere."""

from __future__ import annotations

import platform

from encoders.allocator import keep_freed_memory


def test_glibc_takes_the_setting() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
