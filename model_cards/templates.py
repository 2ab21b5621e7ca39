"""Rendering of the Jinja templates that stand in the folders beside this file."""

from collections.abc import Mapping
from importlib import resources
from typing import Any


def render(name: str, context: Mapping[str, Any]) -> str:
    """Fill a template; a name that the context lacks is an error. HTML templates are escaped, others are not.

    Args:
        name: The file of the template, from this folder: `pages/demo_page.html.jinja`. Templates name others likewise.
        context: What it is filled with.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda file: resources.files(__package__).joinpath(file).read_text("utf-8")),
        undefined=jinja2.StrictUndefined,
        autoescape=name.endswith(".html.jinja"),
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(context)
