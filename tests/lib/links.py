#!/usr/bin/python3
"""Checks the links between the Markdown pages of a repository: links.py REPOSITORY.

A link to a file must lead to one, and one to a heading (`page.md#some-heading`) to a heading, by the name that GitHub makes of it.
Links to other sites are not asked. Pages of the manual that are named in backquotes or plainly, as `enter(8)`, must be in man/ when
they are ours.
"""

import pathlib
import re
import sys

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
MANUAL = re.compile(r"\b((?:lib\w+_|pam_)?vestibule[a-z.-]*|keys-lookup|route-session|enter|refresh-keys)\(([1-8])\)")


def anchors(page):
    """The names of a page's headings."""
    found = set()
    in_block = False
    for line in page.read_text(encoding="utf-8").split("\n"):
        if line.startswith("```"):
            in_block = not in_block
        heading = re.match(r"#+ (.*)", line)
        if heading and not in_block:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def main():
    root = pathlib.Path(sys.argv[1])
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), root / "tests/README.md"]
    links, faults = 0, []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in LINK.findall(text):
            links += 1
            if re.match(r"[a-z]+:", link):
                continue
            path, _, heading = link.partition("#")
            to = (page.parent / path).resolve() if path else page
            if not to.exists():
                faults.append(f"{page.relative_to(root)}: {link}: no such file")
            elif heading and heading not in anchors(to):
                faults.append(f"{page.relative_to(root)}: {link}: no such heading")
        for name, section in MANUAL.findall(text):
            if not (root / "man" / f"{name}.{section}").exists():
                faults.append(f"{page.relative_to(root)}: {name}({section}): no such page")
    sys.exit("\n".join(faults)) if faults else print(f"{links} links")


main()
