"""A model looks the same in every picture, in colour and in grey."""

import numpy as np
from matplotlib.colors import to_rgb

from workbench.plots import style


def test_base_sft_and_dpo_differ_in_lightness_marker_and_to_the_colour_blind():
    look = style.model_style(["base", "SFT", "DPO"])
    grey = [np.dot([0.299, 0.587, 0.114], to_rgb(marks["color"])) for marks in look.values()]
    assert grey[0] - grey[1] > 0.15 and grey[1] - grey[2] > 0.15
    assert len({marks["marker"] for marks in look.values()}) == 3


def test_a_model_looks_the_same_in_every_picture_and_no_two_look_alike():
    assert style.model_style(["SFT", "base"])["base"] == style.model_style(["base"])["base"]
    many = style.model_style(
        ["base", "base, few-shot", "base in chat", "SFT full", "SFT LoRA", "SFT QLoRA", "DPO", "noise 0", "noise 30%"]
    )
    assert len({tuple(marks.items()) for marks in many.values()}) == 9
    assert many["SFT LoRA"]["color"] == many["SFT full"]["color"] != many["base"]["color"]


def test_other_names_do_not_take_the_looks_of_rl():
    names = ["base", "SFT", "DPO", "RLHF", "RL on checks", "noise 0", "noise 30%", "noise 60%"]
    looks = [(marks["color"], marks["marker"]) for marks in style.model_style(names).values()]
    assert len({*looks}) == len({colour for colour, _ in looks}) == len(names)


def test_more_models_than_there_are_colours_still_look_different():
    for kinds in ([], ["base", "SFT", "DPO", "RLHF", "RL"]):
        names = [*kinds, *(f"noise {share}%" for share in range(0, 90, 10))]
        looks = {tuple(marks.items()) for marks in style.model_style(names).values()}
        assert len(looks) == len(names)
