"""Debian's Chromium without a window, by selenium: for the tests of the page and for the docs'
pictures."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INSTALL = "apt-get install -y chromium chromium-driver && pip install -e '.[browser]'"
WAIT = 60.0
"""Seconds that a page may take to draw its charts on a busy machine."""

BOX = """
const boxes = [...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect());
const [least, most] = [Math.min, Math.max];
return [
  least(...boxes.map((b) => b.left)) + scrollX, least(...boxes.map((b) => b.top)) + scrollY,
  most(...boxes.map((b) => b.right)) + scrollX, most(...boxes.map((b) => b.bottom)) + scrollY,
];
"""
"""The sides of the rectangle around some elements, pixels of the page."""


def missing() -> str:
    """What is not installed, '' if nothing is missing."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium"
    names = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return " and ".join(names)


@contextmanager
def chromium(width: int = 1280, height: int = 1000) -> Iterator[Any]:
    """A browser with a window of so many pixels, which ends with the context."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "lang=en"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


def view(driver: Any, width: int, height: int = 1000, dark: bool = False) -> None:
    """Sets the size of the page's view in pixels, also narrower than a window can be, and the
    system's colours."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def open_page(driver: Any, path: Path, charts: int = 2) -> float:
    """Opens a page; seconds until its charts are drawn."""
    begun = time.monotonic()
    driver.get(path.resolve().as_uri())
    while len(driver.find_elements("css selector", "canvas")) < charts:
        assert time.monotonic() - begun < WAIT, "the charts are not drawn"
        time.sleep(0.02)
    settle(driver)
    return time.monotonic() - begun


def settle(driver: Any) -> None:
    """Waits until what was asked of the page is drawn."""
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def picture(driver: Any, path: Path, selector: str = "body", margin: int = 8) -> None:
    """Writes a PNG of the elements of a selector, from the first to the last of them."""
    left, top, right, bottom = driver.execute_script(BOX, selector)
    clip = {
        "x": max(0, left - margin),
        "y": max(0, top - margin),
        "width": right - left + 2 * margin,
        "height": bottom - top + 2 * margin,
        "scale": 1,
    }
    shot = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    path.write_bytes(base64.b64decode(shot["data"]))
