"""Fail if the project description in a wheel has a link or picture that would not work on PyPI.

Renders the description as PyPI does. Each URL must be absolute, or lead to a heading of the page. A URL into the
repository must name a file that this clone has: `raw` for pictures, `blob` for pages. From the clone's top:
python .ci/description.py WHEEL
"""

import re
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

from readme_renderer import markdown


class Page(HTMLParser):
    """The ids of a page, and its links and pictures as pairs of tag and URL."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record what the tag has of both."""
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        self.links += [(tag, value or "") for name, value in attrs if name in ("href", "src", "srcset")]


def metadata(wheel: Path) -> Message:
    """Return the wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def works(tag: str, url: str, page: Page, repository: str) -> bool:
    """Return whether the URL works on PyPI, as far as this clone can tell."""
    if url.startswith("#"):
        return url[1:] in page.ids
    if not url.startswith(f"{repository}/"):
        return url.startswith("https://")
    view = "raw" if tag == "img" else "blob"
    path = re.fullmatch(rf"/{view}/HEAD/([^#]+)(#.*)?", url.removeprefix(repository))
    return path is not None and Path(path[1]).is_file()


def main(wheel: str) -> str | None:
    """Return an error message, or None."""
    content = metadata(Path(wheel))
    urls = dict(entry.split(", ", 1) for entry in content.get_all("Project-URL", []))
    page = Page(markdown.render(content.get_payload(decode=True).decode()) or "")
    if not {"a", "img"} <= {tag for tag, _ in page.links}:
        return f"error: the description in {wheel} has no links or no pictures"
    broken = [url for tag, url in page.links if not works(tag, url, page, urls["Repository"])]
    return f"error: on PyPI these links of README.md would be broken: {', '.join(broken)}" if broken else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
