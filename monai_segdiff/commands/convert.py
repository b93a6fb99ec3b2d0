"""Verb `convert`: weights and configurations of monai-generative."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_segdiff.commands.common import add_verb
from monai_segdiff.documents import read_text

if TYPE_CHECKING:
    from monai_segdiff.conversion import ConvertedConfig, ConvertedWeights, FoundWeights

__all__ = ["add_convert"]

_SHOWN = 8


def convert(args: argparse.Namespace) -> int:
    """Convert weights and configurations of monai-generative."""
    import torch

    from monai_segdiff.conversion import convert_config
    from monai_segdiff.files import atomic_file, remove_leftovers

    _check_paths(args)
    for folder in {Path(path).parent for path in (args.output, args.new_config) if path}:
        remove_leftovers(folder, depth=0)
    weights = _convert_weights(args) if args.checkpoint else None
    config = convert_config(args.config) if args.config else None
    text = comparison = ""
    if config is not None:
        _check_config(config, args)
        text = config.text_for(args.new_config)
        if weights is not None:
            comparison = _compare(config, weights[1], args)
    _check_replaced(None if weights is None else weights[1], text, args)
    if weights is not None:
        with atomic_file(args.output) as temporary:
            torch.save(weights[1].weights, temporary)
        _print_weights(*weights, args)
    if config is not None:
        with atomic_file(args.new_config) as temporary:
            temporary.write_text(text, encoding="utf-8")
        _print_config(config, args.new_config)
    if comparison:
        print(f"{args.new_config}: {comparison}")
    return 0


def _check_paths(args: argparse.Namespace) -> None:
    if (args.config is None) != (args.new_config is None):
        raise ValueError("--config OLD and --new-config NEW belong together: give both or none")
    if args.output is None and (args.checkpoint or not args.config):
        raise ValueError("give CHECKPOINT and OUTPUT, or --config OLD and --new-config NEW, or all four")
    sources = [Path(path).resolve() for path in (args.checkpoint, args.config) if path]
    for path in (Path(path) for path in (args.output, args.new_config) if path):
        if path.resolve() in sources:
            raise ValueError(f"{path} is an input of the conversion: choose another name for the output")
        if path.is_dir():
            raise ValueError(f"{path} is a folder: give the name of a file")
    if args.output and args.new_config and Path(args.output).resolve() == Path(args.new_config).resolve():
        raise ValueError(f"OUTPUT and --new-config are both {args.output}: give two names")


def _check_replaced(weights: ConvertedWeights | None, text: str, args: argparse.Namespace) -> None:
    """Refuse to replace existing files, unless their content is the same, as after a first run."""
    from monai_segdiff.networks import weights_hash

    if args.overwrite:
        return
    for path, same in (
        (args.output, lambda: weights is not None and weights_hash(args.output) == weights_hash(weights.weights)),
        (args.new_config, lambda: read_text(args.new_config, "a configuration") == text),
    ):
        if path is None or not Path(path).exists():
            continue
        try:
            if same():
                continue
        except ValueError:
            pass
        raise ValueError(f"{path} exists: choose another name, or replace it with --overwrite")


def _convert_weights(args: argparse.Namespace) -> tuple[FoundWeights, ConvertedWeights]:
    from monai_segdiff.conversion import convert_weights, find_weights, read_checkpoint

    content = read_checkpoint(args.checkpoint)
    try:
        found = find_weights(content, args.network, args.part)
        return found, convert_weights(found.weights, found.network)
    except ValueError as error:
        raise ValueError(f"{args.checkpoint}: {error}") from error


def _check_config(config: ConvertedConfig, args: argparse.Namespace) -> None:
    if config.problems and not args.partial:
        listed = "\n".join(f"  {problem}" for problem in config.problems)
        raise ValueError(
            f"{args.config} cannot be converted as a whole, and nothing was written. Change this by hand, or convert "
            f"the rest with --partial:\n{listed}"
        )


def _compare(config: ConvertedConfig, weights: ConvertedWeights, args: argparse.Namespace) -> str:
    from monai_segdiff.conversion import fitting_network

    try:
        fits = fitting_network(config.data, weights)
    except ValueError as error:
        if args.partial:
            return str(error)
        raise ValueError(
            f"{args.checkpoint} with {args.config}: {error}. Where another file changes these options, convert with "
            "--partial."
        ) from error
    reason = "it has no network of this class, or the options are known only by running it"
    return f"its {fits} takes these weights" if fits else f"not compared with the weights: {reason}"


def _print_weights(found: FoundWeights, weights: ConvertedWeights, args: argparse.Namespace) -> None:
    from monai_segdiff.conversion import NETWORKS

    name = NETWORKS[weights.network]
    part = f", in its part {found.part}" if found.part else ""
    print(f"{args.checkpoint}: {name}{part}, {len(found.weights)} tensors")
    if found.left_out:
        more = ", ..." if len(found.left_out) > _SHOWN else ""
        print(f"  left out: {', '.join(found.left_out[:_SHOWN])}{more}")
    if found.part or found.left_out:
        print("  the output is a plain state dict: remove code that unwraps it, such as torch.load(...)[...]")
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for old, new in weights.renamed.items():
        groups[_difference(old, new)].append(f"{old} -> {new}")
    for lines in groups.values():
        print(f"  {len(lines)} renamed, such as {lines[0]}")
    if weights.dropped:
        print(f"  {len(weights.dropped)} left out, which the old network never applied, such as {weights.dropped[0]}")
    if weights.added:
        print(f"  {len(weights.added)} added, an identity and zeros in their place, such as {weights.added[0]}")
    if weights.network == "autoencoder":
        print("  not valid with use_convtranspose, which the weights do not show: MONAI has another layer there")
    print(f"{args.output}: {len(weights.weights)} tensors for monai.networks.nets.{name}")


def _difference(old: str, new: str) -> tuple[str, ...]:
    """The rule that made one name of the other: what it took out and what it put in."""
    before, after = old.split("."), new.split(".")
    taken = [word for word in before if word not in after]
    return (*taken, "", *(word for word in after if word not in before))


def _print_config(config: ConvertedConfig, output: str) -> None:
    for change in config.changes:
        print(f"  {change}")
    for problem in config.problems:
        print(f"  left as it was: {problem}")
    for note in config.notes:
        print(f"  note: {note}")
    left = f", {len(config.problems)} left as they were" if config.problems else ""
    print(f"{output}: {len(config.changes)} changes{left}")


def add_convert(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        convert,
        "convert",
        "Convert a checkpoint of monai-generative 0.2.3 to the names that MONAI's own classes have: "
        "DiffusionModelUNet, SPADEDiffusionModelUNet, ControlNet and AutoencoderKL. MONAI's network then gives the "
        "outputs of the original. With --config also the configuration of its bundle, or it alone. Which network it is "
        "shows from the names; nothing in either file is run.",
        stopped="run the same command again to begin anew",
    )
    p.add_argument("checkpoint", nargs="?", help="file that torch.save wrote: a state dict, wrapped or not")
    p.add_argument("output", nargs="?", help="file for the new state dict")
    p.add_argument(
        "--network",
        choices=("unet", "spade", "controlnet", "autoencoder"),
        help="which network's weights (default: found from their names)",
    )
    p.add_argument(
        "--part", help="which part of the checkpoint, where it holds several networks, such as state_dict.unet"
    )
    p.add_argument("--config", metavar="OLD", help="JSON or YAML configuration of the old bundle, to be converted, too")
    p.add_argument("--new-config", metavar="NEW", help="file for the new configuration")
    p.add_argument(
        "--partial",
        action="store_true",
        help="leave in the configuration what cannot be converted or does not fit the weights, and say so",
    )
    p.add_argument("--overwrite", action="store_true", help="replace files that exist")
