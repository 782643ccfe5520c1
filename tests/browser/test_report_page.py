"""The look of a report's page where it is narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

import perfkit.report

CSS = (Path(perfkit.report.__file__).parent / "html" / "page.css").read_text()
REMARK = "times are the host's local ones, printed without a zone: taken as UTC; 29 ordinary lines"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_remark_is_no_column_of_single_words(
    open_page: Callable[..., Page], width: int
) -> None:
    page = open_page(width=width)
    page.set_content(
        f"<style>{CSS}</style><main><div class='wide'><table><tr><td class='t'>client-001/openvpn.log</td>"
        f"<td class='t'>openvpn-log</td><td class='n'>3</td><td class='t long'>{REMARK}</td></tr></table></div>"
    )
    width_em = page.locator(".long").evaluate(
        "cell => cell.clientWidth / parseFloat(getComputedStyle(cell).fontSize)"
    )
    assert width_em > 9
    page.close()
