"""The page and the API: the only package that imports gradio."""
