"""The page's look: one built-in theme, one accent colour, no font from the net."""

from pathlib import Path

import gradio as gr

STYLES = sorted((Path(__file__).parent / "assets").glob("*.css"))

THEME = gr.themes.Base(
    primary_hue="indigo",
    neutral_hue="zinc",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
    spacing_size="sm",
    radius_size="sm",
)
THEME.set(
    # The built-in greys of the one-line helps are too faint to read.
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    block_title_text_color="*neutral_800",
    block_title_text_color_dark="*neutral_200",
    block_label_text_color="*neutral_600",
    block_label_text_color_dark="*neutral_300",
)
