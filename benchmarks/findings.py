"""What a table says in words: paired comparisons with intervals and tests, and who is on the frontier."""

from __future__ import annotations

from commutant.integrations.evaluation.metrics import METRICS
from commutant.integrations.evaluation.summary import Summary

# (a, b): a minus b.
QUESTIONS = {
    "main": [
        ("staged (default)", "paper"),
        ("staged (default)", "matched"),
        ("staged (default)", "HR in 8 steps, order 2"),
        ("matched", "paper"),
        ("matched", "matched without guidance"),
        ("matched", "matched, strided selection instead"),
        ("paper", "paper without guidance"),
        ("paper without guidance", "naive strided at t_D"),
        ("live preview after 8", "matched"),
        ("HR in 8 steps, order 2", "matched"),
        ("HR in 8 steps, order 2", "HR in 8 steps"),
    ],
    "stages": [
        ("staged (default)", "HR in 8 steps, order 2"),
        ("staged (default)", "live preview after 8"),
        ("staged (default)", "matched"),
        ("staged (default)", "staged, spectral crop instead"),
        ("staged (default)", "4 own and 3 coarse steps"),
    ],
    "ablation": [
        ("selection: argmin", "selection: first"),
        ("selection: argmin", "selection: random"),
        ("selection: argmin", "selection: argmax"),
        ("argmin, m = 5, alpha = 0.04", "selection: argmin"),
        ("argmin, m = 5, alpha = 0.01", "selection: argmin"),
        ("argmin, m = 7, alpha = 0.04", "argmin, m = 5, alpha = 0.04"),
        ("argmin, lagged, alpha = 0.04", "argmin, m = 5, alpha = 0.04"),
    ],
    "sweep": [
        ("order 2", "default"),
        ("block mean", "default"),
        ("same time", "default"),
        ("D = 5, tail 8, defect over 5", "default"),
    ],
}
ASKED = ("psnr", "haarpsi", "flip", "sharpness", "objects")


def findings(summary: Summary, table: str) -> str:
    """Markdown: differences in every metric asked for, then the frontier."""
    asked = [m for m in ASKED if m in summary.metrics]
    heads = [METRICS[m].title for m in asked]
    out = ["| difference (95% paired bootstrap; p of Wilcoxon's test) | " + " | ".join(heads) + " |"]
    out += ["|---|" + "---|" * len(heads)]
    for a, b in QUESTIONS.get(table, []):
        if not {a, b} <= summary.values.keys():
            continue  # methods of another number of steps
        cells = []
        for metric in asked:
            found = summary.against(a, b, metric)
            d = found.difference
            cells.append(f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}], p = {found.test.p_value:.1g}")
        out.append(f"| {a} - {b} | " + " | ".join(cells) + " |")
    for metric in ("psnr", "haarpsi", "flip"):
        names = ", ".join(
            f"{p.name} ({p.cost:.3f}: {METRICS[metric].shown(p.quality)})" for p in summary.frontier(metric)
        )
        out += ["", f"Frontier by {METRICS[metric].title}: {names}."]
    return "\n".join(out) + "\n"
