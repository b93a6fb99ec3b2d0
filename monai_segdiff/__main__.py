"""Command line: `python -m monai_segdiff VERB`; the verbs are in `monai_segdiff.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monai_segdiff.commands import VERBS

__all__ = ["main"]

_DESCRIPTION = "Segmentation-guided diffusion on MONAI: synthetic images that obey a given label map."
_EPILOG = """The whole way, from a folder of scans and label maps:
  python -m monai_segdiff check-data SCANS
  python -m monai_segdiff prepare SCANS prepared --size 128 --intensity-range -200 300
  python -c "import monai_segdiff; monai_segdiff.copy_bundle('ct_organ', 'my_ct')"
  cd my_ct
  python -m monai.bundle run training --config_file configs/train.yaml \\
      --dataset_dir ../prepared --image_size "[128,128]"
  cd ..
  python -m monai_segdiff generate --bundle my_ct --masks prepared --output synthetic
  python -m monai_segdiff evaluate --real prepared --synthetic synthetic --output report"""


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m monai_segdiff", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True)
    for add in VERBS:
        add(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: arguments; those of the process by default.

    Returns:
        The exit code: 0 if all is well, 1 where ``check-data`` found errors, 2 if the verb failed.
    """
    args = _parser().parse_args(argv)
    try:
        return args.function(args)
    except (ValueError, OSError, ArithmeticError, ImportError) as error:  # ImportError: an extra is not installed
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
