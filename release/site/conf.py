"""Sphinx: the same pages as in the repository, as a site that needs nothing of another host. See `make docs`."""

project = "onionmx"
copyright = "the onionmx developers, Apache-2.0"  # noqa: A001 -- Sphinx's name for it
extensions = ["myst_parser"]
myst_heading_anchors = 6  # those of GitHub, with which the pages link to headings
html_theme = "alabaster"
html_theme_options = {"fixed_sidebar": True, "page_width": "66em", "show_relbars": True}
html_copy_source = False
html_use_index = False
