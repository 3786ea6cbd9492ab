"""A page stands alone, is well formed, escapes what it shows, and renders in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgenet.measure.baseline import RULE
from edgenet.measure.check_document import judge
from edgenet.report.html import bench, charts, check
from tests.documents import (
    bench_document,
    check_document,
    emulated,
    end_to_end,
    profile,
    regression_document,
    sweep,
)

VOID = {"meta", "br", "img"}
EVIL = "<script>alert(1)</script>&\"'"


def bench_page() -> str:
    document = bench_document()
    document["results"][0]["profile"] = profile()
    document["results"][1]["end_to_end"] = end_to_end()
    document["results"][1]["warnings"] = ["64 threads share 2 cores"]
    document["batches"] = sweep()
    document["peaks"] = [{"engine": "openvino", "threads": 2, "fp32": 100.0, "int8": 400.0}]
    return bench.page(document)


def check_page(document=None) -> str:
    pixels = np.full((64, 64, 3), (200, 40, 40), np.uint8)
    return check.page(document or check_document(), lambda _: pixels)


def bench_page_of_a_regression() -> str:
    document = bench_document()
    for result in document["results"]:
        result["verified"]["agreement"] = None
    return bench.page(document)


PAGES = {
    "bench": bench_page,
    "bench of a regression": bench_page_of_a_regression,
    "check": check_page,
    "check of a regression": lambda: check_page(regression_document()),
}


@pytest.fixture(params=PAGES)
def page(request) -> str:
    return PAGES[request.param]()


def test_a_regression_is_told_by_its_values():
    page = check_page(regression_document())
    assert "tflite: R²" in page
    assert "the largest errors" in page
    assert "44.25" in page
    assert not re.search("agreement|top-1|no answer|Each against each", page)


def test_of_several_values_errors_name_theirs():
    assert " of &lt;script" not in check_page(regression_document())
    page = check_page(regression_document() | {"worst_value": EVIL})
    for error in ("mean error", "MAE", "reference MAE", "tflite: MAE growth"):
        assert f">{error} of {escape(EVIL)}<" in page


def test_an_r2_is_a_number_that_has_no_lower_end():
    document = regression_document()
    document["results"][0].update(r2=-387.75, failures=["the R² is -387.7500, 388.7 less than"])
    page = check_page(document)
    assert tile(page, "tflite: R²") == ("bad", "-387.7500")
    assert tile(page, "onnx: R²") == ("good", "0.9700")
    assert '<td>tflite int8</td><td class="right">3.00</td><td class="right">-387.7500<' in page
    assert "What is below 0 is drawn at 0." in page
    assert "below 0" not in check_page(regression_document())
    (picture,) = re.findall(
        r'<svg viewBox="0 0 \d+ (\d+)" role="img" aria-label="R².*?</svg>', page
    )
    heights = [float(height) for height in re.findall(r'<circle cx="[\d.]+" cy="(.*?)"', page)]
    assert len(heights) == 3
    assert all(0 < height < int(picture) for height in heights)


def test_a_regression_has_no_agreement_to_draw():
    page = bench_page_of_a_regression()
    assert not re.search("agreement|<circle", page)
    assert "Distribution" in page
    document = bench_document()
    document["results"][0]["verified"]["agreement"] = None
    assert bench.page(document).count("<circle") == 1


class Balance(HTMLParser):
    """Fails where a tag is closed that is not the one last opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)


def parsed(text: str) -> Balance:
    balance = Balance()
    balance.feed(text)
    balance.close()
    return balance


def test_every_tag_is_closed_and_every_picture_is_sound_xml(page):
    assert parsed(page).open == []
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert pictures
    for picture in pictures:
        ElementTree.fromstring(picture)


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not re.search(r"https?://|src=\"(?!data:)|@import|url\(", page)
    assert not {"script", "link", "iframe", "object"} & parsed(page).seen


def test_what_is_shown_is_escaped():
    document = bench_document()
    document["machine"]["cpu"] = EVIL
    document["results"][0].update(name=EVIL, bundle=EVIL, warnings=[EVIL])
    document["bundles"] = {EVIL: document["bundles"]["a"]}
    checked = check_document()
    checked["recipe"]["name"] = checked["images_source"] = EVIL
    checked["results"][0]["damage"]["worst"][0]["image"] = EVIL
    for text in (bench.page(document), check_page(checked)):
        assert "script" not in parsed(text).seen
        assert "&lt;script&gt;" in text


def test_paper_repeats_the_titles_of_a_table_and_keeps_short_ones_whole(page):
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert all("<thead><tr><th" in table for table in tables if "<th>" in table)
    assert all(('class="long"' in table) == ("<th>kernel</th>" in table) for table in tables)


def test_the_source_is_told_without_a_languages_signs():
    document = check_document()
    document["recipe"]["source"] = {"variant": "b0", "weights": {"file": "b0.h5", "sha256": "73e5"}}
    assert "<td>variant: b0, weights: b0.h5 73e5</td>" in check_page(document)


def test_images_that_set_nothing_are_told():
    document = check_document()
    assert "128 images (folder)" in check_page(document)
    assert "set nothing" not in check_page(document)
    document["recipe"]["calibration"]["outliers"] = 4
    assert "4 left out: of one colour, or the network explodes on them" in check_page(document)


def test_formats_are_told_apart_without_colours():
    lines = re.findall(r'<polyline [^>]*stroke-opacity=".8"/>', bench_page())
    dashes = [re.search(r'stroke-dasharray="(.*?)"', line).group(1) for line in lines]
    assert dashes == ["none", "6 3"]


def test_the_summary_comes_first_and_names_the_verdict():
    text = check_page()
    assert text.index("the gate") < text.index("Accuracy, latency, size")
    failed = check_document()
    failed.update(passed=False, regressions=["tflite int8 cpu: agreement fell"])
    assert '<b class="bad">failed</b>' in check_page(failed)
    assert "worse than the baseline: tflite int8 cpu: agreement fell" in check_page(failed)


def test_a_doubt_stands_by_the_verdict():
    document = check_document()
    document["doubt"] = "no drop means anything"
    verdict, _ = check_page(document).split("Accuracy, latency, size")
    assert '<div class="notes"><ul><li>no drop means anything</li>' in verdict
    assert tile(verdict, "the gate") == ("", "passed, in doubt")
    assert tile(check_page(), "the gate") == ("good", "passed")
    assert 'class="notes"' not in check_page()


def tile(text: str, what: str) -> tuple[str, str]:
    """The tone and the figure of a tile."""
    return re.search(rf'{what}</span><b class="(.*?)">(.*?)</b>', text).groups()


def test_a_tile_is_toned_by_the_limit_of_its_own_figure():
    document = check_document()
    document["results"][0].update(
        passed=False,
        drop_points=1.5,
        drop_interval=[-0.5, 3.5],
        failures=["the top-1 drop is 1.50 points, 0.50 points more than the 1.00 points allowed"],
    )
    document["results"][1].update(
        passed=False,
        agreement=0.9496,
        failures=["the agreement is 0.9496, 0.0004 less than the 0.9500 required"],
    )
    text = check_page(document)
    assert tile(text, "tflite: agreement") == ("good", "98.0 %")
    assert tile(text, "tflite: drop, points") == ("bad", "1.50 ± 2.00")
    assert tile(text, "onnx: agreement") == ("bad", "94.96 %")
    assert tile(text, "onnx: drop, points")[0] == "good"


def test_a_drop_is_not_rounded_to_whole_points():
    document = check_document()
    document["results"][0].update(drop_points=0.6, drop_interval=[-1.4, 2.6])
    assert tile(check_page(document), "tflite: drop, points") == ("good", "0.6 ± 2.0")


def test_one_changed_answer_is_not_several():
    document = check_document()
    document["results"][0]["damage"]["changed"] = 1
    assert "tflite int8: 1 answer changed<" in check_page(document)


@pytest.mark.parametrize(("count", "rows"), [(2, [2]), (8, [8]), (9, [5, 4]), (16, [8, 8])])
def test_no_picture_is_taller_than_a_page(count, rows):
    document = bench_document()
    first = document["results"][0]
    document["results"] = [{**first, "threads": number} for number in range(1, count + 1)]
    text = bench.page(document)
    charts_found = re.findall(r'<svg [^>]*aria-label="distribution.*?</svg>', text)
    assert [chart.count(" thr.</text>") for chart in charts_found] == rows
    assert all("ms a run</text>" in chart for chart in charts_found)
    # In print a picture is 480 px wide; A4 between its margins is 1016 px high.
    sizes = re.findall(r'viewBox="0 0 (\d+) (\d+)" role', text)
    assert max(480 * int(height) / int(width) for width, height in sizes) < 0.6 * 1016


def test_the_reference_is_in_the_picture_of_accuracy_latency_and_size():
    text = check_page()
    assert text.count("<circle") == 3
    row = "<td>tflite reference</td>" + "".join(
        f'<td class="right">{cell}</td>' for cell in ("6.00", "75.0 %", "20.0")
    )
    assert row in text


@pytest.mark.parametrize(
    ("known", "tiles"), [((90.0, 80.0), 1), ((None, 80.0), 1), ((None, None), 0)]
)
def test_memory_that_is_not_known_is_not_the_least(known, tiles):
    document = bench_document()
    for result, megabytes in zip(document["results"], known, strict=True):
        result["rss_mb"] = megabytes
    text = bench.page(document)
    assert text.count("peak memory: ") == tiles
    assert text.count('<b class="">80 MB</b>') == tiles


def test_a_reference_that_ran_elsewhere_is_a_line_without_a_time():
    document = check_document()
    for result in document["results"]:
        result["device_used"] = "gpu"
    text = check_page(document)
    assert text.count("<circle") == 2
    assert '<td>tflite reference</td><td class="right">–</td><td class="right">75.0 %</td>' in text
    assert "<title>tflite reference</title></path>" in text
    assert "a line without a time" in text


@pytest.mark.parametrize("every", [False, True])
def test_what_is_no_hardware_is_in_no_picture(every):
    document = bench_document()
    document["results"][1] = emulated(document["results"][1])
    if every:
        document["results"][0] = emulated(document["results"][0])
    text = bench.page(document)
    assert "Not on hardware" in text
    assert text.count("<circle") == (0 if every else 1)
    assert ("fastest" in text) is not every


def test_what_changed_since_the_baseline_is_shown_with_the_rule():
    document, before = check_document(), check_document()
    before["results"][0]["sqnr_db"] = None
    before["results"][0]["noise"] = [0.0] * before["images"]
    judge(document, before)
    text = check_page(document)
    assert "Against the baseline" in text
    assert "Against the baseline" not in check_page()
    assert '<td>SQNR dB</td><td class="right">∞</td><td class="right">20.0</td>' in text
    assert "<td>worse</td>" in text
    assert escape(RULE) in text


def test_the_parity_matrix_is_symmetric():
    table = re.search(r'<table class="matrix">.*?</table>', check_page(), re.DOTALL).group()
    rows = [re.findall(r">([\d.]+ %)<", row) for row in table.split("<tr>")[2:]]
    assert rows == [list(column) for column in zip(*rows, strict=True)]
    assert rows[1][2] == "97.0 %"


@given(
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
)
def test_ticks_are_round_few_and_inside(low, span):
    found = charts.ticks(low, low + span)
    assert 2 <= len(found) <= 7
    slack = 1e-6 * (abs(low) + span)
    assert low - slack <= found[0]
    assert found[-1] <= low + span + slack


@pytest.mark.parametrize("width", [500, 1000])
def test_it_renders_in_a_browser(page, width, tmp_path):
    """No scrolling sideways, and pictures with ink on them."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: apt install chromium")
    file = tmp_path / "page.html"
    measure = "<script>document.title=document.documentElement.scrollWidth</script>"
    file.write_text(page.replace("</body>", f"{measure}</body>"), encoding="utf-8")
    size = f"--window-size={width},1600"
    dom = chromium(browser, size, "--dump-dom", file.as_uri()).decode()
    assert int(re.search(r"<title>(\d+)</title>", dom).group(1)) <= width
    chromium(browser, size, f"--screenshot={tmp_path / 'page.png'}", file.as_uri())
    colours = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 50


def chromium(browser: str, *arguments: str) -> bytes:
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    return subprocess.run([*command, *arguments], capture_output=True, timeout=120).stdout


def test_a_sweep_over_batches_is_a_table_and_one_point_a_file():
    document = bench_document()
    base = document["results"][0]
    document["results"].append({**base, "batch": 8, "p50_ms": 30.0})
    document["batches"] = sweep()
    text = bench.page(document)
    frontier, rest = text.split("<h2>All results</h2>")
    assert "a, tflite, 2 threads, batch 8" not in frontier
    document["results"][-1].update(device_used="gpu", delegate="WebGPU")
    frontier, _ = bench.page(document).split("<h2>All results</h2>")
    assert "a, tflite, 2 threads, batch 8" in frontier
    assert "1.33 ± 0.02" in rest.split("<h2>Batches</h2>")[1].split("<h2>")[0]


def test_a_time_beside_the_frontier_has_no_more_digits_than_it_is_worth():
    document = bench_document()
    result = document["results"][0]
    result.update(p50_ms=5.12, intervals={**result["intervals"], "p50_ms": [4.1, 6.1]})
    text = bench.page(document).split("<h2>Accuracy, latency, size</h2>")[1]
    assert '<td class="right">5 ± 1</td>' in text.split("<h2>")[0]


def test_a_file_that_keeps_all_is_not_drawn_over_the_title_of_the_axis():
    drawn = charts.frontier([charts.Point("a", "tflite", 0.1, 1.0, 20_000_000)], "agreement")
    top, radius = map(float, re.search(r'cy="([\d.]+)" r="([\d.]+)"', drawn).groups())
    title = float(re.search(r'y="([\d.]+)"[^>]*>agreement<', drawn)[1])
    assert top - radius > title
