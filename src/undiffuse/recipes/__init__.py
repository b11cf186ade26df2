"""Ready-made settings. A new recipe is one function in one file and one row here."""

from __future__ import annotations

from undiffuse.config.distillation import student_of
from undiffuse.config.sampling import Guide, SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.recipes.digits import DIGITS
from undiffuse.recipes.ho2020 import HO2020_CELEBAHQ256, HO2020_CIFAR10
from undiffuse.recipes.nichol2021 import NICHOL2021_CIFAR10
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.small import SMALL

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (DIGITS, SMALL, HO2020_CIFAR10, HO2020_CELEBAHQ256, NICHOL2021_CIFAR10)
}


def get_recipe(name: str) -> Recipe:
    """The recipe called ``name``.

    Raises:
        UndiffuseError: where there is none, with the nearest name.
    """
    if name not in RECIPES:
        raise UndiffuseError(f"There is no recipe '{name}'{perhaps(name, RECIPES)}.")
    return RECIPES[name]


def advised_sampling(config: TrainConfig) -> SampleConfig:
    """The settings to draw with from what these settings train: the recipe's, in no more steps than the chain has.

    Guidance needs a network that is told something and has learned to do without it; elsewhere there is none. A student
    is drawn from as it was made for.
    """
    student = student_of(config.distillation)
    if student and student.student_steps:
        return SampleConfig.of(**student.walk(), guidance=student.guidance_unsaid)
    settings = RECIPES[config.recipe].sampling if config.recipe in RECIPES else SampleConfig()
    if student:
        settings = settings.changed(guidance=student.guidance_unsaid)
    elif not (config.conditions.condition and config.conditions.condition_dropout):
        settings = settings.changed(guidance=Guide.guidance)
    return settings.changed(steps=min(settings.solver.steps, config.diffusion.timesteps))


__all__ = ["RECIPES", "Recipe", "advised_sampling", "get_recipe"]
