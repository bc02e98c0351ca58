"""Answers are shown side by side as the models wrote them."""

import pandas as pd
import pytest
from drawn import table

from workbench.errors import InputError
from workbench.plots import tables


def test_answers_stand_side_by_side_with_ticks_lines_and_nothing_taken_for_markup():
    base, tuned = table(0), table(1, seeds=2)
    page = tables.side_by_side({"base": base.assign(stops=False), "SFT <1>": tuned}, n=4).data
    assert page.count("<tr") == 1 + 4 and page.count("<td") == 4 * 3
    assert "SFT &lt;1&gt;" in page and "a<br>&nbsp;&nbsp;&lt;b&gt; &amp; b" in page
    assert page.count("&amp; b …") == 4, "an answer that was cut off is seen to be"
    assert page.count("does not follow") == 4 + 1, "the base always, the tuned model in the skill it lacks"
    assert page.count("✓</b> follows") == 3


def test_prompts_of_the_view_come_from_all_skills_and_from_both_models():
    page = tables.side_by_side({"base": table(0).sort_values("skill", kind="stable")}, n=3).data
    assert all(f">p{i}<" in page for i in range(3))
    with pytest.raises(InputError, match='"SFT" has other prompts'):
        tables.side_by_side({"base": table(0), "SFT": table(1).assign(prompt="else")})


def test_a_table_of_texts_keeps_their_lines_and_takes_nothing_for_markup():
    page = tables.text_table(pd.DataFrame({"<prompt>": ["a\n  <b> & b"], "rows": [3]})).data
    assert "&lt;prompt&gt;" in page and "a<br>&nbsp;&nbsp;&lt;b&gt; &amp; b" in page and ">3<" in page
