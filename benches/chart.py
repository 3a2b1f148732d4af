"""Horizontal bars as SVG, which can be read on light and dark pages."""

import html

WIDTH = 720
LABEL_WIDTH = 200
VALUE_WIDTH = 90
BAR_HEIGHT = 20
ROW_HEIGHT = 28
TOP = 44
BARS_MAX = 40

# The page's background comes along, since a viewer may be light in a dark system, or the other way round.
STYLE = """
  .page { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .group { fill: #59636e }
  .ours { fill: #0969da } .other { fill: #afb8c1 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #f0f6fc } .group { fill: #9198a1 }
    .ours { fill: #4493f8 } .other { fill: #515c67 }
  }
"""


def bars(title, unit, groups, ours):
    """`groups` is [(heading, [(label, value)])]; the bars whose label is `ours` stand out."""
    values = [value for _, entries in groups for _, value in entries]
    if not 0 < len(values) <= BARS_MAX:
        raise ValueError(f"a chart of {len(values)} bars: 1 to {BARS_MAX} can be read")
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / max(values)
    drawn, y = [_text(16, 26, f"{title} ({unit})", "title")], TOP
    for heading, entries in groups:
        drawn.append(_text(16, y + 15, heading, "group"))
        y += ROW_HEIGHT - 4
        for label, value in entries:
            drawn += _bar(y, label, value, scale, "ours" if label == ours else "other")
            y += ROW_HEIGHT
    return _page(y + 12, title, drawn)


def _bar(y, label, value, scale, kind):
    width = max(1, value * scale)
    shown = f"{value:.1f}" if value < 100 else f"{value:,.0f}"
    bar = f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
    name = _text(LABEL_WIDTH - 10, y + 15, label, "label", "end")
    return [name, bar, _text(LABEL_WIDTH + width + 8, y + 15, shown, "value")]


def _text(x, y, text, kind, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _page(height, title, drawn):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    lines = [f'{head} role="img">', f"<title>{html.escape(title)}</title>", f"<style>{STYLE}</style>"]
    lines.append(f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>')
    return "\n".join([*lines, *drawn, "</svg>"]) + "\n"
