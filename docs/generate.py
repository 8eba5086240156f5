"""Write docs/api from the docstrings, with griffe2md: `make docs`.

The source is read, not imported, so the pages are the same whatever is installed. Errors that the
client re-exports are on the page of the module that has them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from griffe import GriffeLoader, Module
from griffe2md import render_object_docs

__all__ = ["pages"]

ROOT = Path(__file__).parent.parent
MODULES = {
    "client": "genserver.client",
    "server": "genserver.server",
    "errors": "genserver.protocol.errors",
}
STYLE = {
    "docstring_style": None,
    "members_order": "source",
    "inherited_members": False,
    "show_if_no_docstring": False,
    "show_object_full_path": False,
    "show_root_full_path": False,
    "show_root_members_full_path": False,
    "show_signature_annotations": True,
    "summary": False,
    "line_length": 10_000,  # black, where it is installed, must not wrap; `tidy` does
}


def pages() -> dict[str, str]:
    """The text of each page, by the page's name."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "genserver")
        package.mkdir()
        for name in ("client", "server", "protocol"):
            (package / name).symlink_to(ROOT / name)
        loader = GriffeLoader(search_paths=[folder], docstring_parser=None, allow_inspection=False)
        modules = {page: loader.load(module) for page, module in MODULES.items()}
        loader.resolve_aliases(external=False)
        return {page: render(module) for page, module in modules.items()}


def render(module: Module) -> str:
    """A page: the module's docstring, then every name that it exports, in its own order."""
    parts = [f"# {module.path}", "<!-- written by `make docs` from the docstrings -->"]
    parts.append(prose(module.docstring.value))
    elsewhere = []
    for name in module.exports:
        member = module[str(name)]
        found = member.final_target if member.is_alias else member
        if found.module.path == MODULES["errors"] != module.path:
            elsewhere.append(f"[`{name}`](errors.md#{str(name).lower()})")
        else:
            parts.append(tidy(render_object_docs(found, STYLE, format_md=True)).strip())
    if elsewhere:
        parts.append(f"Also exported: {', '.join(elsewhere)}.")
    return "\n\n".join(parts) + "\n"


def prose(docstring: str) -> str:
    """Markdown's form of ``code``."""
    return docstring.replace("``", "`").strip()


def tidy(text: str) -> str:
    """Bases without links to pages that do not exist, and signatures in the house format."""
    text = re.sub(r"<code>\[(\w+)\]\(#[\w.]+\)</code>", r"`\1`", text)
    return re.sub(r"```python\n(\w+\(.*\))( -> .*)?\n```", wrap, text)


def wrap(block: re.Match[str]) -> str:
    """A signature as ruff formats it; that of a class returns nothing worth saying."""
    signature, returns = block[1], block[2] or ""
    returns = "" if returns == " -> None" and signature[0].isupper() else returns
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--line-length=100", "-"],
        input=f"def {signature}{returns}: ...", capture_output=True, text=True, check=True,
    )  # fmt: skip
    code = done.stdout.strip().removeprefix("def ").removesuffix(": ...")
    return f"```python\n{code}\n```"


def main() -> None:
    for name, text in pages().items():
        (ROOT / "docs" / "api" / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
