"""The launchers' files are what accelerate reads, and the plan understands what they set."""

import pytest

from pipeline import ROOT
from train.plan.device import Spread, find_spread

pytest.importorskip("accelerate", reason="accelerate is not installed: pip install -e '.[train]'")


@pytest.mark.parametrize("name", ["zero3", "fsdp"])
def test_what_accelerate_sets_is_what_the_plan_reads(name):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import launch

    file = ROOT / "train" / "recipes" / "accelerate" / f"{name}.yaml"
    args = launch_command_parser().parse_args(["--config_file", str(file), "--num_processes", "4", "-m", "train.run", "recipe.yaml"])
    args, given, _ = _validate_launch_command(args)
    args.deepspeed_fields_from_accelerate_config = ",".join(given.deepspeed_config)  # as accelerate's launch_command does
    made = launch.prepare_deepspeed_cmd_env(args)[1] if name == "zero3" else launch.prepare_multi_gpu_env(args)
    expected = Spread(4, "weights", "deepspeed" if name == "zero3" else "fsdp")
    assert find_spread({}, {**made, "WORLD_SIZE": "4"}) == expected
