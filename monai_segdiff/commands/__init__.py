"""The verbs of the command line: a module each, with the function and its parser."""

from __future__ import annotations

from monai_segdiff.commands.choose_guidance import add_choose_guidance
from monai_segdiff.commands.completion import add_completion
from monai_segdiff.commands.convert import add_convert
from monai_segdiff.commands.data import add_check_data, add_prepare
from monai_segdiff.commands.demo import add_demo
from monai_segdiff.commands.drr import add_make_drr
from monai_segdiff.commands.edit import add_edit
from monai_segdiff.commands.evaluate import add_evaluate
from monai_segdiff.commands.generate import add_generate
from monai_segdiff.commands.label import add_label_app
from monai_segdiff.commands.run import add_plan, add_run
from monai_segdiff.commands.train import add_train
from monai_segdiff.commands.verify import add_verify

__all__ = ["VERBS"]

#: What adds each verb to the command line, in the order of the overview.
VERBS = [
    add_demo,
    add_run,
    add_plan,
    add_check_data,
    add_prepare,
    add_make_drr,
    add_train,
    add_choose_guidance,
    add_generate,
    add_edit,
    add_evaluate,
    add_convert,
    add_verify,
    add_label_app,
    add_completion,
]
