"""Write the reference into docs/: python -m reference."""

from pathlib import Path

from reference.documents import documents

DOCS = Path(__file__).parents[1] / "docs"

for name, text in documents().items():
    (DOCS / name).write_text(text, encoding="utf-8")
