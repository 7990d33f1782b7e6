"""Links from a page to files of the repository outside docs/, which a built site does not hold.

On GitHub they work as they are. In the site they lead to the repository's address, or become plain text where mkdocs.yml names none.
A link to a file that does not exist is a warning, and so fails `mkdocs build --strict`.
"""

import logging
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.repository_links")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """`markdown` with its links to files outside docs/ replaced."""
    folder = Path(page.file.abs_src_path or "").parent
    docs, repository = Path(config.docs_dir), Path(config.docs_dir).parent

    def replaced(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ""
        path = Path(os.path.normpath(folder / target))
        if path.is_relative_to(docs):
            return link[0]
        if not path.exists():
            log.warning("%s links to %s, which does not exist", page.file.src_uri, target)
        if not config.repo_url:
            return label
        return f"[{label}]({config.repo_url.rstrip('/')}/blob/main/{path.relative_to(repository).as_posix()}{anchor})"

    return LINK.sub(replaced, markdown)
