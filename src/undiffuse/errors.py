"""The one exception that a user's mistake raises, and the spelling help that goes with it.

A sentence names a setting in backquotes, as Python calls it, alone or with a value: "`beta_start` and `beta_end` go
together", "use `spacing=log-snr`". That is what Python callers read, in errors, warnings and remarks alike; a door with
names of its own spells them where it speaks (`config.flags.in_flags`: "use --spacing log-snr"). Whole commands, such as
"undiffuse train --resume RUN", stay as they are.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import wraps
from inspect import isgeneratorfunction
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

Door = TypeVar("Door", bound=Callable[..., Any])

FRAMES = "UNDIFFUSE_TRACEBACK"
"""Environment variable: 'full' shows where in the package a mistake was found."""
_OURS = {"undiffuse", "torch", *sys.stdlib_module_names}
"""Packages whose frames say nothing of a user's code."""


class UndiffuseError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence: what was expected, what came, and what to type.
    The command line prints it without a traceback and exits with `status`.
    """

    status: int = 2
    """Exit status of the command line."""
    speaks: bool | None = None
    """Among many processes: whether this one tells the user; None where nobody has decided, see `rank_failure`."""


def in_one_sentence(door: Door) -> Door:
    """A function that programs call: of a mistake they see its sentence, right below their own line.

    The frames inside the package go from an `UndiffuseError` when it leaves the package. They stay where code of the
    user's own is among them, such as a callback's, and where `FRAMES` asks for them, as those of all other errors do.
    It stands above all other decorators.
    """

    if isgeneratorfunction(door):

        @wraps(door)
        def each(*args: Any, **options: Any) -> Generator[Any, Any, Any]:
            try:
                return (yield from door(*args, **options))
            except UndiffuseError as error:
                if _leaves(error, sys._getframe(1)):
                    raise error.with_traceback(None) from _users_cause(error)  # all frames: UNDIFFUSE_TRACEBACK=full
                raise

        return cast(Door, each)

    @wraps(door)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return door(*args, **options)
        except UndiffuseError as error:
            if _leaves(error, sys._getframe(1)):
                raise error.with_traceback(None) from _users_cause(error)  # all frames: UNDIFFUSE_TRACEBACK=full
            raise

    return cast(Door, call)


def _leaves(error: UndiffuseError, caller: FrameType) -> bool:
    """Whether it goes to a program, which needs none of its frames."""
    asked = os.environ.get(FRAMES) == "full"
    return not asked and _package(caller) != "undiffuse" and not _has_users_code(error.__traceback__)


def _has_users_code(traceback: TracebackType | None) -> bool:
    return any(_package(frame) not in _OURS for frame in _frames(traceback))


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _users_cause(error: BaseException) -> BaseException | None:
    """The nearest error behind this one that came out of the user's code."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return cause if cause is None or _has_users_code(cause.__traceback__) else _users_cause(cause)


def perhaps(word: str, choices: Iterable[str]) -> str:
    """Return ``"; perhaps you meant 'x'"`` for the closest choice, else the list of choices."""
    choices = sorted(choices)
    if close := closest(word, choices):
        return f"; perhaps you meant '{close}'"
    return f"; choose from {', '.join(choices)}" if choices else ""


def counted(count: float, noun: str, several: str = "") -> str:
    """'1 picture', '2,000 pictures', '19.5 evaluations'.

    Args:
        several: the noun's plural, where it is not made by an s.
    """
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun if count == 1 else several or f'{noun}s'}"


def one_of(choices: Iterable[object]) -> str:
    """Some choices in words: '4', '1 or 2', '1, 2 or 4'."""
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def quoted(path: object) -> str:
    """A path as it is typed in a shell, so that a command which a message names can be copied."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


_WORDS_OF_OTHERS = {
    "accumulate": "gradient_accumulation_steps gradient_accumulate_every microbatch",
    "attention_levels": "attention_resolutions attn_resolutions full_attn",
    "base": "model_channels num_channels dim block_out_channels",
    "batch": "batch_size train_batch_size per_device_train_batch_size",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "blocks": "num_res_blocks layers_per_block",
    "checkpoint_every": "checkpointing_steps save_interval save_steps save_model_epochs",
    "classes": "class_labels class_names",
    "clip": "max_grad_norm grad_clip gradient_clip_val",
    "condition": "class_cond class_conditional num_class_embeds num_classes",
    "condition_dropout": "cond_drop_prob label_dropout proportion_empty_prompts",
    "crop": "center_crop random_crop",
    "decay": "lr_scheduler lr_scheduler_type",
    "device": "gpu gpus cuda accelerator",
    "distance": "loss_type",
    "ema": "ema_decay ema_rate ema_max_decay use_ema",
    "flip": "random_flip augment_horizontal_flip",
    "gamma": "snr_gamma min_snr_gamma",
    "guidance": "guidance_scale cfg cfg_scale cond_scale w",
    "images": "epochs num_epochs num_train_epochs max_epochs",
    "keep": "checkpoints_total_limit save_total_limit",
    "learn_variance": "learn_sigma",
    "log_every": "log_interval logging_steps log_every_n_steps",
    "lr": "learning_rate train_lr",
    "multipliers": "channel_mult dim_mults",
    "n": "num number count nsamples num_samples num_images num_images_per_prompt",
    "network": "model unet",
    "out": "output output_dir out_dir",
    "parameterization": "prediction_type objective_type predict",
    "precision": "mixed_precision use_fp16 amp",
    "sample_count": "eval_batch_size num_samples",
    "sample_every": "save_and_sample_every save_images_epochs validation_steps",
    "sampler": "scheduler",
    "schedule": "noise_schedule beta_schedule",
    "size": "image_size resolution",
    "source": "data dataset dataset_name train_data_dir",
    "spacing": "timestep_spacing",
    "start_from": "resume_from_checkpoint pretrained_model_name_or_path resume_checkpoint",
    "steps": "num_inference_steps ddim_steps sampling_steps train_steps max_steps max_train_steps num_train_steps "
    "train_num_steps",
    "text": "prompt prompts caption",
    "timesteps": "num_train_timesteps num_timesteps diffusion_steps",
    "track": "report_to logger logging",
    "avoid": "negative_prompt",
    "warmup": "lr_warmup_steps warmup_steps num_warmup_steps",
    "weight_decay": "adam_weight_decay",
}
"""Settings, and what other programs call them, where that is spelt like another of ours or like none."""


def closest(word: str, choices: list[str]) -> str | None:
    """The choice that a word stands for: written another way, cut short, with more behind it, or misspelt; or None.

    Another way is that of other programs, such as ``dpmpp_2m`` for ``dpm++2m``.
    """
    bare = {choice: _bare(choice) for choice in choices}
    alike = [choice for choice in choices if bare[choice] == _bare(word)]
    begun = [choice for choice in choices if len(_bare(word)) > 1 and bare[choice].startswith(_bare(word))]
    inside = [choice for choice in choices if len(bare[choice]) > 5 and _bare(word).startswith(bare[choice])]
    others = [choice for choice in choices if _bare(word) in OF_OTHERS.get(bare[choice], ())]
    nearest = alike[:1] or others[:1] or sorted(begun, key=len)[:1] or sorted(inside, key=len)[-1:]
    found = nearest or difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if found:
        return found[0]
    letters = {bare[choice]: choice for choice in reversed(choices)}
    near = difflib.get_close_matches(_bare(word), letters, n=1, cutoff=0.6)
    return letters[near[0]] if near else None


def _bare(word: str) -> str:
    """Small letters and digits alone, with ``pp`` for ``++``."""
    return "".join(sign for sign in word.lower().replace("+", "p") if sign.isalnum())


OF_OTHERS = {_bare(own): {_bare(word) for word in words.split()} for own, words in _WORDS_OF_OTHERS.items()}
