"""Choose the times of a few steps for a run: the best ones by a measured cost, for undiffuse sample --spacing learned.

  undiffuse timesteps runs/NAME --evaluations 5,10,20
  undiffuse timesteps runs/NAME photos/ --evaluations 10 --cost bound
  undiffuse sample runs/NAME --spacing learned --steps 10

'error' is the distance of DDIM steps from the exact path and needs no images; 'bound' is the variational bound of the
images. The times go to RUN/timesteps-N.json and hold for the weights they were chosen for. docs/measure/samplers.md
says what they are worth.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Literal

from undiffuse.cli.data_options import PREPARATION, add_preparation, data_word
from undiffuse.cli.evaluation_options import add_machine, load_alone, open_images
from undiffuse.cli.naming import add_model
from undiffuse.cli.options import add_choice, add_count, add_list, add_overwrite
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.flags import flag_of
from undiffuse.errors import UndiffuseError, counted, quoted
from undiffuse.runtime.durable_files import NO_OUT, check_writable

if TYPE_CHECKING:
    from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
    from undiffuse.evaluation.samplers.step_costs import WalkCosts
    from undiffuse.model import Model

COSTS = Literal["error", "bound"]


def configure(parser: Parser) -> None:
    add_model(parser)
    parser.add_argument(
        "DATA", type=data_word, nargs="?", help="images of the bound (default: those the run learned from)"
    )
    group = parser.add_argument_group("which times")
    text = "how many times a walk has, one file for each (default: 5,10,20)"
    add_list(parser, group, "--evaluations", tuple[int, ...], text)
    add_choice(group, "--cost", COSTS, "what they are the best for (default: error)")
    add_count(group, "--candidates", 2, "times to choose from, beside those of the fixed spacings (default: 200)")
    add_count(group, "--limit", 1, "images or samples that the cost is measured on (default: 64)")
    add_machine(group)
    add_preparation(parser, "how images are prepared (default: as the run's data)")
    group = parser.add_argument_group("where to")
    add_overwrite(group, "replace times that were chosen before")


def run(typed: Namespace) -> None:
    from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
    from undiffuse.evaluation.options import MeasureOptions
    from undiffuse.evaluation.samplers.optimal_timesteps import learn, measure_bound, measure_error
    from undiffuse.provenance.png import write_text

    options = vars(typed)
    steps, overwrite = options.get("evaluations", (5, 10, 20)), "overwrite" in options
    if not steps or min(steps) < 1:
        raise UndiffuseError(f"--evaluations takes whole numbers from 1 on; got {','.join(map(str, steps)) or 'none'}")
    cost, count = options.get("cost", "error"), options.get("limit", 64)
    if cost == "error" and (name := next((name for name in ("DATA", *PREPARATION) if options.get(name)), "")):
        word = "DATA" if name == "DATA" else flag_of(name)
        raise UndiffuseError(f"--cost error looks at no images: leave out {word}, or take --cost bound")
    model = load_alone(options, "a choice of times")
    files = [LearnedTimesteps.file(model.home, n) for n in steps]
    for file in files:
        if file.exists() and not overwrite:
            raise UndiffuseError(f"{file} exists already; replace it with --overwrite")
        check_writable(file, NO_OUT)
    how = MeasureOptions(seed=options.get("seed", 0), batch=options.get("batch"), progress=True)
    among = options.get("candidates", 200)
    if cost == "bound":
        images = open_images({**options, "limit": count}, options.get("DATA") or model.config.data.source, model)
        costs = measure_bound(model, images, steps, count=among, how=how)
        count = len(images)
    else:
        costs = measure_error(model, count, steps, count=among, how=how)
    chosen = learn(model, costs, cost, steps, count)
    with said_afterwards(lambda: print("\n".join(_table(model, costs, chosen)))):
        for file, learned in zip(files, chosen, strict=True):
            write_text(file, learned.to_json(), overwrite)
    print("\n".join(f"file    {file}" for file in files))
    print(f"Use them with: undiffuse sample {quoted(options['RUN'])} --spacing learned --steps {steps[-1]}")


def _table(model: Model, costs: WalkCosts, chosen: list[LearnedTimesteps]) -> list[str]:
    """The cost of the chosen times, and of the fixed spacings, for each number of evaluations."""
    from undiffuse.diffusion.timesteps import make_timesteps
    from undiffuse.evaluation.likelihood.units import Units
    from undiffuse.evaluation.samplers.optimal_timesteps import BASELINES

    cost, images = chosen[0].cost, chosen[0].images
    rows = {"learned": [learned.total for learned in chosen]}
    for spacing in BASELINES:
        rows[spacing] = [costs.total(make_timesteps(model.schedule, len(c.times), spacing)) for c in chosen]
    units = Units.of(model.info)
    name = f"the bound in {units.name}" if cost == "bound" else "sum of RMS errors of DDIM steps, model space"
    drawn = counted(images, "image" if cost == "bound" else "sample")
    lines = [
        f"{name}, {drawn}, {counted(len(costs.times) - 1, 'time')} to choose from",
        f"{'evaluations':<12}" + "".join(f"{len(learned.times):>10}" for learned in chosen),
    ]
    for row, values in rows.items():
        shown = units.of_density(costs.times.new_tensor(values)).tolist() if cost == "bound" else values
        lines.append(f"{row:<12}" + "".join(f"{value:>10.4f}" for value in shown))
    return lines
