from __future__ import annotations

import pytest

from training import config as configs
from training.config import recipes


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_adaptive_is_a_preset_of_two_independent_values(name: str) -> None:
    standard = recipes.recipe(name)
    preset = configs.validate(recipes.adaptive(standard))
    assert (preset.recipe, preset.heads.num, preset.temperature.kind) == (name, 3, "adaptive")
    assert configs.override(preset, ["heads.num=1", "temperature.kind=constant"]) == configs.validate(standard)


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(ValueError, match="recipes are simclr"):
        recipes.recipe("simsiamese")
