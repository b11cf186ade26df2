"""`train`: the one function behind ``undiffuse.train(...)`` and ``undiffuse train``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from undiffuse.checkpoints.run_lock import NO_CHECKPOINT, check_unlocked, exclusive
from undiffuse.checkpoints.training_checkpoint import clean_up, latest, save, set_aside, step_of
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.config.data import DataConfig
from undiffuse.config.distillation import student_of
from undiffuse.config.files import check_pieces, override, read_config
from undiffuse.config.keywords import TrainSettings
from undiffuse.config.network import GivenNetworkConfig
from undiffuse.config.sampling import Guide
from undiffuse.config.schema import TrainConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.formats.builtin import BUILTIN_PREFIX
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.in_memory import is_given, is_loader, keep_given
from undiffuse.data.preparation.named import typed_source
from undiffuse.data.stream import Stream, open_data
from undiffuse.errors import UndiffuseError, counted, in_one_sentence, quoted
from undiffuse.model import Model, build_model, load_model
from undiffuse.recipes import advised_sampling, get_recipe
from undiffuse.runtime.devices import choose_device
from undiffuse.runtime.precision import slow_bfloat16
from undiffuse.runtime.process_group import ALONE, Group, joined
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.batches import Data
from undiffuse.training.budget import fixed_total, too_short
from undiffuse.training.build import make_train_state, make_train_step, restore, to_checkpoint
from undiffuse.training.callbacks.callback import Callback
from undiffuse.training.callbacks.console import Console
from undiffuse.training.distillation.teacher import start_critic
from undiffuse.training.loop import TrainState, TrainStep
from undiffuse.training.pace import Timer
from undiffuse.training.parallel.batch_shards import check_share
from undiffuse.training.run.finetune import (
    ADAPTING,
    check_start,
    in_its_standard,
    started_from,
    starting_model,
    take_weights,
)
from undiffuse.training.run.folder import ELSEWHERE, RunFolder, changed_environment, claim, edited
from undiffuse.training.run.names import new_folder, run_to_resume
from undiffuse.training.run.objects import with_data_named, with_texts
from undiffuse.training.run.plan_corrections import Outset
from undiffuse.training.run.prior import Prior, join, with_prior
from undiffuse.training.run.replay import Recorded, recorded
from undiffuse.training.run.resume import NewBudget, reconcile
from undiffuse.training.run.session import fit_minutes, run_training
from undiffuse.training.run.settings_without_effect import unheeded
from undiffuse.training.run.target_program import changes, fitted
from undiffuse.training.run.validate import check
from undiffuse.training.step_plan import Decision


@in_one_sentence
@own_modes()
def train(
    source: Any = None,
    recipe: str | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    quiet: bool = False,
    *,
    config: TrainConfig | str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **overrides: Unpack[TrainSettings],
) -> Model:
    """Learn from a data set and return the model, its averaged weights ready to sample.

        model = undiffuse.train("photos/", size=64, minutes=30)
        model.sample(16).array

        undiffuse.train("photos/", size=64, minutes=10, start_from="runs/photos", condition=("class",))

    Everything that it writes is in the folder ``runs/name``.

    Args:
        source: a folder, a file or a pattern of any kind in docs/use/data.md, or 'digits'; or the data themselves, a
            tensor, an array, or an iterable of images or (image, label) pairs, such as a torch data set; of a
            DataLoader its data set and its batch size; may be left out with ``resume``.
        recipe: name of the settings to start from; 'digits' for the source 'digits' in its own size, else 'small'.
        name: of the run; by default that of the source, with a number where that is taken.
        runs: folder of runs.
        resume: go on with the run ``name`` from its newest whole checkpoint, to the same end, bit for bit; with
            ``minutes``, ``steps`` or ``images`` beyond that end, see `resume.reconcile`.
        quiet: print nothing.
        config: settings to start from in place of a recipe's: a `TrainConfig`, or a file of them such as another run's
            ``config.yaml``, the source among them where none is given.
        callbacks: objects that are called on the way, see `undiffuse.Callback`.
        overrides: settings by their flat names, such as ``lr=1e-4`` or ``steps=1000``; ``undiffuse train --help``
            lists them. Some take objects in place of names: ``network`` a module or what makes one, ``schedule`` a
            `diffusion.Schedule`, ``objective`` a `diffusion.Loss`, ``optimizer`` a function of the parameters. The
            settings name such an object; `undiffuse.register` makes names that any program knows.

    Raises:
        UndiffuseError: anything that the user can mend, in one sentence. After SIGTERM or Ctrl-C it is a
            `signals.StoppedError`, and the state is saved.
    """
    timer, runs, settings = Timer(), Path(runs), given_settings(config, recipe, resume)
    given, callbacks = with_texts(overrides), checked_callbacks(callbacks)
    if is_given(source):
        if is_loader(source) and source.batch_size:
            given.setdefault("batch", source.batch_size)
        source = keep_given(source)
    elif source is not None:
        source = typed_source(str(source), quiet).removeprefix(BUILTIN_PREFIX)
    given = with_data_named(given, quiet)
    typed = override(settings or TrainConfig(), **given)  # misspelt settings are found before any work is done
    with joined() as group:
        console = Console(quiet or not group.is_main)
        if resume:
            named = {"source": None if source is None else str(source), "recipe": recipe}
            given |= {name: value for name, value in named.items() if value is not None}
            folder = Path(group.broadcast_text(lambda: str(run_to_resume(runs, source, name))))
            return resume_run(folder, console=console, group=group, callbacks=callbacks, **given)
        source = settings.data.source if settings and source is None else source
        if not source:
            raise UndiffuseError("name the data to learn from: a folder, an archive, an array file, or 'digits'")
        demo = str(source) == "digits" and given.get("size") is None  # that recipe knows one size
        build = get_recipe(recipe or ("digits" if demo else "small")).build
        wanted = replace(typed.data, source=str(source))
        dataset = prepare_together(wanted, console, group)
        base = settings or build(dataset.info)
        if typed.start.start_from and (settings is None or "start_from" in given):
            base = started_from(base, typed.start)
        if typed.lora.lora_rank:
            base = override(base, **ADAPTING)
        chosen = override(replace(base, data=replace(wanted, flip=base.data.flip)), **given)
        fitting = fitted(chosen, dataset.info, given)
        if words := changes(chosen, fitting):
            console.say(words)
        folder = Path(group.broadcast_text(lambda: str(new_folder(runs, source, name))))
        if "condition" not in given and (hint := unused_classes(fitting, dataset.info)):
            console.say(hint)
        for sentence in unheeded(given, fitting):
            console.say(f"warning: {sentence}")
        if dataset.info.narrow:
            console.say(f"warning: {dataset.info.narrow}")
        return start_run(fitting, dataset, folder, console=console, timer=timer, group=group, callbacks=callbacks)


def given_settings(config: TrainConfig | str | Path | None, recipe: str | None, resume: bool) -> TrainConfig | None:
    """The settings that a training starts from, where it is no recipe's.

    Raises:
        UndiffuseError: they are a student's, something beside them says the same, or there is no such file.
    """
    if config is None:
        return None
    if recipe is not None or resume:
        other = "`recipe` names settings, too" if recipe is not None else "a run that goes on has its own settings"
        raise UndiffuseError(f"`config` names the settings to start from, and {other}: leave one of them out")
    if isinstance(config, (str, Path)):
        config = read_config(Path(config))
    if not isinstance(config, TrainConfig):
        raise UndiffuseError(f"`config` is a TrainConfig or a file of one, got a {type(config).__name__}")
    if student_of(config.distillation):
        raise UndiffuseError("The settings in `config` are a student's, which undiffuse distill makes of its teacher")
    check_pieces(config)
    return config


def unused_classes(config: TrainConfig, info: DataInfo) -> str:
    """Advice on classes of the data that the model is not told; '' where there are none."""
    told = config.conditions
    if len(info.classes) < 2 or told.condition or told.upscale > 1:
        return ""
    few = ", ".join(info.classes[:3]) + (", ..." if len(info.classes) > 3 else "")
    return (
        f"the data have {len(info.classes)} classes ({few}), which the model will not be told: "
        "with `condition=class` it draws those that it is asked for"
    )


def prepare_together(config: DataConfig, console: Console, group: Group) -> Dataset | Stream:
    """The prepared data, made by one process of those that share a disk and opened by all."""
    with group.main_first():
        dataset = open_data(config, progress=not console.quiet)
    if group.broadcast_text(lambda: dataset.info.fingerprint) != dataset.info.fingerprint:
        raise UndiffuseError(f"the contents of {config.source} are not those that rank 0 sees; copy the data anew")
    return dataset


def not_learned(config: TrainConfig, console: Console, group: Group) -> Dataset | Stream | None:
    """Other data whose loss is measured on the way, prepared as the training's are; None where none are named."""
    if not isinstance(config.data.validation, str):
        return None
    return prepare_together(replace(config.data, source=config.data.validation, validation=0.0), console, group)


def checked_callbacks(callbacks: Sequence[Callback]) -> Sequence[Callback]:
    """Callbacks as they can be called.

    Raises:
        UndiffuseError: one is something else.
    """
    for one in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        if not isinstance(one, Callback):
            raise UndiffuseError(f"callbacks= is a list of `undiffuse.Callback` objects, got a {type(one).__name__}")
    return tuple(callbacks)


@own_modes()
def start_run(
    config: TrainConfig,
    dataset: Data,
    folder: Path,
    *,
    console: Console | None = None,
    timer: Timer | None = None,
    group: Group = ALONE,
    callbacks: Sequence[Callback] = (),
) -> Model:
    """Train a new run in ``folder`` with these settings and return its model.

    Args:
        dataset: prepared data, as those settings describe them.
        folder: empty or not there.
        console: where to report; by default standard error.
        timer: of a budget in minutes; by default it begins now.
        group: the processes that train together, all of which call this.
        callbacks: of the program.
    """
    console, outset = console or Console(), Outset(timer or Timer())
    check(config)
    check_share(config, group)
    device = choose_device(config.loop.device, group)
    old = starting_model(config.start)
    check_start(config, old)
    run = RunFolder(folder)
    if group.is_main:
        claim(folder)
    with exclusive(folder) if group.is_main else nullcontext():  # rank 0 holds the lock for all
        if group.is_main:
            claim(folder)  # again, now that no one else can
        try:
            if old and config.start.prior:
                dataset = with_prior(dataset, old.to(device), config, run, console, group)
            info = in_its_standard(dataset.info, config.start, old)
            if group.is_main:
                run.write_settings(config, info, device, group.world, ELSEWHERE)
                console.log_to(run.log)
            group.barrier()  # the others begin when rank 0 has found nothing wrong
            console.say(f"run: {folder}")
            model = build_model(config, info)
            take_weights(model, old)
            start_critic(model)
            del old  # its memory is for the training
            train_state = make_train_state(model.to(device), group)
            others = not_learned(config, console, group)
            train_step = make_train_step(model, dataset, fixed_total(config.loop) or 1, group, others)
            _tell_of_slow_format(train_step, console)
            if config.loop.minutes is not None:
                total, outset = fit_minutes(run, train_state, train_step, outset, console)
                train_step.plan.decide(Decision(0, 0.0, total, spent=outset.timer.spent))
            if warning := too_short(config, train_step.plan.total, outset.step or None):
                console.say(f"warning: {warning}")
            first = to_checkpoint(train_state, model, train_step.plan, spent=outset.timer.spent)
            if group.is_main:
                clean_up(run.checkpoints)
                save(first, run.checkpoints, advice="or choose another folder of runs with `runs`")
        except BaseException:
            if group.is_main:
                _empty(folder)  # a run that never began leaves its name free
            raise
        run_training(run, train_state, train_step, outset, console, callbacks)
        return _finished(run, console, group)


@own_modes()
def resume_run(
    folder: Path,
    *,
    dataset: Data | None = None,
    console: Console | None = None,
    timer: Timer | None = None,
    group: Group = ALONE,
    callbacks: Sequence[Callback] = (),
    **given: Any,
) -> Model:
    """Go on with the run in ``folder`` from its newest whole checkpoint, and return its model.

    The result is that of the uninterrupted run, bit for bit, on the same machine, versions and number of processes;
    with another number of processes it is that up to the rounding of sums.

    Args:
        dataset: the prepared data; by default they are prepared again as the run's settings say.
        console, timer, group: as of `start_run`; the timer goes on from what the run's budget has spent, unless the
            budget is a new one.
        given: settings by flat name; see `resume.reconcile` for what may differ from the run's.
    """
    console, timer = console or Console(), timer or Timer()
    run = RunFolder(folder)
    if not run.checkpoints.is_dir():
        check_unlocked(folder, NO_CHECKPOINT)
        raise UndiffuseError(f"{folder} holds no checkpoint, so there is nothing to resume; start one without `resume`")
    with exclusive(folder) if group.is_main else nullcontext():  # rank 0 holds the lock for all
        path = Path(group.broadcast_text(lambda: str(_newest(run, console))))
        checkpoint = load_checkpoint(path)
        state = checkpoint.state
        told = Recorded.from_text(group.broadcast_text(lambda: recorded(run.metrics, state.step).to_text()))
        if warning := edited(run.config, checkpoint.config, given):
            console.say(f"warning: {warning}")
        going = reconcile(checkpoint.config, state, given, told)
        config, plan, new = going.config, going.plan, going.budget
        check_share(config, group)
        dataset = dataset or prepare_together(config.data, console, group)
        if config.start.prior:
            dataset = join(dataset, Prior.read(run.prior), config)
        same = (dataset.info.fingerprint, dataset.info.count) == (checkpoint.info.fingerprint, checkpoint.info.count)
        if not same:
            raise UndiffuseError(
                f"the data in {config.data.source} are not those that the run learned from (their contents differ); "
                "bring them back, or start a run under another `name`"
            )
        device = choose_device(config.loop.device, group)
        for change in changed_environment(run, device, group.world):
            console.say(f"warning: {change} since the run began, so the last bits may differ")
        of = f" of {plan.total:,}" if new is None or state.step < plan.total else ", where it was finished"
        console.say(f"run: {folder}, going on from step {state.step:,}{of}")
        model = build_model(config, checkpoint.info).to(device)
        train_state = make_train_state(model, group)
        restore(train_state, checkpoint, path)
        train_step = make_train_step(model, dataset, plan, group, not_learned(config, console, group))
        _tell_of_slow_format(train_step, console)
        pace = state.seconds / state.step if state.step else 0.0
        outset = Outset(timer, pace, recorded=going.recorded, window=state.window)
        if new is None or new.decision.start != state.step:  # else all of it is new, with what it took to come here
            timer.spent = state.spent
        if new is not None:
            outset = _in_new_budget(run, train_state, train_step, new, outset, console)
        if config != checkpoint.config and group.is_main:  # what is refused until here changes nothing of the run
            run.write_settings(config, checkpoint.info, device, group.world)
        run_training(run, train_state, train_step, outset, console, callbacks)
        return _finished(run, console, group)


def _in_new_budget(
    run: RunFolder, train_state: TrainState, train_step: TrainStep, new: NewBudget, outset: Outset, console: Console
) -> Outset:
    decision = new.decision
    if train_step.config.loop.minutes is not None:
        fit, outset = fit_minutes(run, train_state, train_step, outset, console)
        decision = replace(decision, total=decision.step + fit, spent=outset.timer.spent)
    train_step.plan.decide(decision)
    console.say(
        f"the learning rate goes on for {counted(decision.total - decision.step, 'step')}, to step {decision.total:,}"
    )
    return replace(outset, budget=new.given)


def _tell_of_slow_format(train_step: TrainStep, console: Console) -> None:
    if train_step.bfloat16 and (sentence := slow_bfloat16(train_step.device)):
        console.say(f"warning: {sentence}")


def _newest(run: RunFolder, console: Console) -> Path:
    console.log_to(run.log)
    clean_up(run.checkpoints)
    path, torn = latest(run.checkpoints)
    for sentence in torn:
        console.say(f"warning: {sentence}; it is set aside, and an earlier one is used")
    if path is None:
        raise UndiffuseError(f"{run.path} holds no whole checkpoint, so there is nothing to resume")
    set_aside(run.checkpoints, step_of(path))
    return path


def _finished(run: RunFolder, console: Console, group: Group) -> Model:
    group.barrier()  # until rank 0 has saved
    model = load_model(run.path)
    guidance = advised_sampling(model.config).guide.guidance
    led = "" if guidance == Guide.guidance else f" --guidance {guidance:g}"
    if isinstance(model.config.network, GivenNetworkConfig):
        name = model.config.network.architecture
        use = f"draw from it with: undiffuse.load({str(run.path)!r}, network={name}).sample(16)"
    elif model.config.conditions.upscale > 1:
        use = f"enlarge pictures with it: undiffuse edit upscale {quoted(run.path)} small.png"
    else:
        use = f"draw from it with: undiffuse sample {quoted(run.path)}{led}"
    console.say(f"run: {run.path}; {use}")
    return model


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    folder.rmdir()
