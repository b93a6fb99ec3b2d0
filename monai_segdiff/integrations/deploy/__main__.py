"""Command line: `python -m monai_segdiff.integrations.deploy -i INPUT -o OUTPUT -m BUNDLE`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the application with the arguments of the process.

    Returns:
        The exit code: 0 if all is well, 2 if the run failed.
    """
    try:
        from monai_segdiff.integrations.deploy.app import run
    except ImportError as error:
        print(f"error: {error}: run python -m pip install 'monai-segdiff[deploy]'", file=sys.stderr)
        return 2
    try:
        run()
    except Exception as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
