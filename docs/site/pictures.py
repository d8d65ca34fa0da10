"""The docs' pictures: `python docs/site/pictures.py` runs programs that ship with fkdsl, opens
their pages in Chromium, and writes docs/pictures/*.png.

It wants what the tests in a browser want (docs/developing.md). The pictures have a light ground of
their own, so that they are readable on a dark page too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.report.browser import INSTALL, chromium, missing, open_page, picture, settle, view  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 200_000
FEW_TEXTS = "document.querySelectorAll('#tokens > :nth-child(n + 11)').forEach((e) => e.remove())"
RUN = ("programs/short_words.fk", "--seed", "4")


def main() -> int:
    """Writes the pictures; 1 if something is missing or a picture is too large."""
    if what := missing():
        print(f"there is no {what}: {INSTALL}", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        out = Path(folder, "out.html")
        command = (sys.executable, "-m", "fkdsl", "run", *RUN, "--report", str(out))
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        view(driver, 1000)
        open_page(driver, out)
        driver.find_element("css selector", "#tokens [aria-selected=true]").click()
        settle(driver)
        picture(driver, PICTURES / "genealogy.png", "#choice, #genealogy .sides")
        picture(driver, PICTURES / "posterior.png", "header, #posterior, #steps")
        driver.execute_script(FEW_TEXTS)
        picture(driver, PICTURES / "texts.png", "#texts")
    large = [p.name for p in sorted(PICTURES.glob("*.png")) if p.stat().st_size > MOST_BYTES]
    for path in sorted(PICTURES.glob("*.png")):
        print(f"{path.relative_to(ROOT)}   {path.stat().st_size // 1000} kB")
    return 1 if large else 0


if __name__ == "__main__":
    raise SystemExit(main())
