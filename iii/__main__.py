"""``python -m iii`` is ``iii``."""

from __future__ import annotations

from iii.cli import main

if __name__ == "__main__":
    main()
