"""What comes from outside is shown in a pull request as it is."""

from __future__ import annotations

import pytest

from edgenet.report import bench, check, markdown
from tests.documents import bench_document, check_document, profile

EVIL = "[x](http://e) ~~a~~ #1 @me `b` <i>|_c_*d*&lt;"
SHOWN = r"\[x\](http://e) \~\~a\~\~ \#&#8203;1 @&#8203;me \`b\` \<i>\|\_c\_\*d\*\&lt;"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, SHOWN),
        ("> quoted", r"\> quoted"),
        ("- a", r"\- a"),
        ("--", r"\--"),
        ("+ a", r"\+ a"),
        ("12. a", r"12\. a"),
        ("1) a", r"1\) a"),
        ("# a", r"\# a"),
        ("a\n\n# b\tc", r"a \# b c"),
        ("+0.12 points, 1.5 > 1.4", "+0.12 points, 1.5 > 1.4"),
        ("CPU @ 2.20GHz, 8 cores", "CPU @ 2.20GHz, 8 cores"),
    ],
)
def test_no_sign_of_a_text_has_a_meaning(text, shown):
    assert markdown.escaped(text) == shown


def test_a_table_and_a_list_escape_what_they_are_given():
    assert markdown.table(["a", EVIL], [[EVIL, "1"]], "<>").count(SHOWN) == 2
    assert markdown.bullets([EVIL]) == f"- {SHOWN}"


def test_a_check_escapes_the_names_of_images_classes_and_folders():
    document = check_document()
    document["images_source"] = EVIL
    worst = document["results"][0]["damage"]["worst"][0]
    worst["image"] = worst["ours"]["name"] = worst["reference"]["name"] = EVIL
    text = check.markdown(document)
    assert EVIL not in text
    # The folder, the image, and the classes that it was and is taken for.
    assert text.count(SHOWN) == 4


def test_a_bench_escapes_its_titles():
    document = bench_document()
    document["machine"]["cpu"] = EVIL
    document["results"][0].update(profile=profile(), bundle=EVIL)
    text = bench.markdown(document)
    assert EVIL not in text
    assert f"### {SHOWN} tflite fp32" in text
    assert f"{SHOWN}, 2 cores, avx2 avx512\\_vnni; " in text
