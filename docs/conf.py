"""Sphinx configuration: pages in MyST Markdown, the interface from numpydoc docstrings, nothing
loaded from outside.
"""

from importlib.metadata import version as installed_version

project = "approxattn"
author = "approxattn developers"
copyright = "2026, approxattn developers"  # noqa: A001 - Sphinx wants this name
version = release = installed_version("approxattn")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build"]
nitpicky = False  # array types are described in words
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say more: shapes, scale, units
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "approxattn"
# pages that belong to no section have nothing to list beside them
html_sidebars = {name: [] for name in ("index", "start", "gallery/gallery")}
html_theme_options = {"navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
