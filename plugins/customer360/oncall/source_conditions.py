"""What on-call must know of the sources and of their folders in the landing zone."""

from __future__ import annotations

from collections.abc import Iterator

from customer360.front_door import landing
from customer360.oncall.conditions import Finding, View, condition, graver_if
from customer360.sources import declaration


@condition("source_broken")
def source_broken(view: View) -> Iterator[Finding]:
    """A source's file cannot be read, or files lie in a folder of the landing zone that is no source's."""
    lost_folders = landing.lost_folders(view.settings)
    for lost in lost_folders:
        yield Finding(
            "source_broken",
            f"source_broken:{lost.name}",
            graver_if(True),
            f"{lost.files:,} files in landing/sources/{lost.name}/ are not read: {lost.why}",
            "c360 source list",
            (),
            {"folder": lost.name, "files": lost.files},
        )
    for path in declaration.paths(view.settings):
        if path.stem in {lost.name for lost in lost_folders}:
            continue  # its folder says the same, and how many files wait
        try:
            declaration.source_named(view.settings, path.stem)
        except declaration.SourceError as error:
            yield Finding(
                "source_broken",
                f"source_broken:{path.stem}",
                graver_if(False),
                f"The source {path.stem} cannot be read, and its files would not be either: {error}",
                "c360 source list",
                (),
                {"source": path.stem, "path": str(path)},
            )
