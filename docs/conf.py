"""Sphinx configuration: pages in MyST Markdown, the interface from numpydoc docstrings, nothing
loaded from outside.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import plots

project = "approxattn"
author = "approxattn developers"
copyright = "2026, approxattn developers"  # noqa: A001 - Sphinx wants this name
version = release = installed_version("approxattn")

extensions = [
    "myst_parser",
    "numpydoc",
    "plots",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "interface",
    "statements",
    "tidy",
    "typeset",
]
exclude_patterns = ["_build", "gallery/GALLERY_HEADER.rst", "plots/index.rst"]
nitpicky = False  # array types are described in words
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_labels = False
html_math_renderer = "matplotlib"
html_static_path = ["_static"]
html_css_files = ["pages.css", "plots.css"]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's machine has it
html_domain_indices = False  # the interface has a page of its packages
sphinx_gallery_conf = plots.settings()

autosummary_generate = False  # `interface` writes the pages
default_role = "code"  # names in docstrings
autodoc_typehints = "none"  # the docstrings say more: shapes, scale, units
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"  # "compute()": the page is that of its class

html_theme = "pydata_sphinx_theme"
html_title = "approxattn"
# pages that belong to no section have nothing to list beside them
html_sidebars = {name: [] for name in ("index", "start", "gallery/gallery")}
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
}
