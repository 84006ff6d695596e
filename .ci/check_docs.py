"""Checks what a reader would stumble over: dead links and anchors, lost pages, paths of one machine.

Prints one line per finding and exits 1 if there is any. Links to other sites are not followed, so that the
result depends on the checkout alone.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
START = ROOT / "README.md"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(page for page in ROOT.glob("[!.]*/README.md") if page.parent.name != "docs"),
]
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
HTML_LINK = re.compile(r"""\b(?:href|src)=["']([^"']+)["']""")
HTML_ANCHOR = re.compile(r"""\b(?:id|name)=["']([^"']+)["']""")
# Examples must run anywhere: no home, scratch or mount directory of whoever wrote them.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:home|root|tmp|mnt|Users|work|workspace|builds)\b(?:/[\w.-]+)*")


def tokens(page: Path) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or []


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        if token.type in {"link_open", "image"}:
            yield str(token.attrs.get("href") or token.attrs.get("src") or "")
        elif token.type in {"html_block", "html_inline"}:
            yield from HTML_LINK.findall(token.content)


def anchors(page: Path) -> set[str]:
    """Return the anchors that the usual hosts make from headings, and those written by hand."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    in_heading = False
    for token in tokens(page):
        if token.type in {"html_block", "html_inline"}:
            found.update(HTML_ANCHOR.findall(token.content))
        elif token.type == "inline" and in_heading:
            words = [part.content for part in token.children or [] if part.type in {"text", "code_inline"}]
            slug = re.sub(r"[^\w\- ]", "", "".join(words).lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        in_heading = token.type == "heading_open"
    return found


def resolve(page: Path, link: str) -> tuple[Path, str]:
    """Return the file that a relative link names, and the anchor; a folder stands for its README."""
    target, _, anchor = unquote(link).partition("#")
    path = (page.parent / target).resolve() if target else page
    return (path / "README.md" if (path / "README.md").is_file() else path), anchor


def findings() -> Iterator[str]:
    reached = {START}
    waiting = [START]
    while waiting:
        page = waiting.pop()
        for target in [resolve(page, link)[0] for link in links(page) if not ELSEWHERE.match(link)]:
            if target in PAGES and target not in reached:
                reached.add(target)
                waiting.append(target)

    for page in PAGES:
        where = page.relative_to(ROOT)
        if page not in reached:
            yield f"{where}: no chain of links leads here from {START.name}"
        for link in links(page):
            if ELSEWHERE.match(link):
                continue
            target, anchor = resolve(page, link)
            if not target.exists() or not target.is_relative_to(ROOT):
                yield f"{where}: link to {link}, which does not exist here"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                yield f"{where}: link to {link}, which has no such heading"
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            for match in MACHINE_PATH.finditer(line):
                yield f"{where}:{number}: {match[0]} exists on one machine only"


def main() -> int:
    if not START.is_file():
        sys.stderr.write(f"error: there is no {START.name}\n")
        return 1
    found = list(findings())
    for line in found:
        print(line)
    print(f"{len(PAGES)} pages, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
