"""What is known of a folder or a file after all of it was read."""

from __future__ import annotations

from dataclasses import dataclass

from monai_segdiff.data import Issue

__all__ = ["Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Whether something is whole.

    Args:
        kind: what it is: "data set", "bundle", "checkpoint" or "weights".
        issues: what is wrong with it, by file.
        files: number of files that were read.
        recorded: whether it was compared with what was recorded when it was written; otherwise its files are known to
            be readable, and a change cannot be seen.
    """

    kind: str
    issues: tuple[Issue, ...]
    files: int
    recorded: bool

    @property
    def damaged(self) -> bool:
        """Whether something is missing or is not what it was."""
        return any(issue.severity == "error" for issue in self.issues)

    @property
    def whole(self) -> bool:
        """Whether everything is there and as it was recorded."""
        return self.recorded and not self.damaged
