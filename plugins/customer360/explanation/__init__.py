"""Every number explains itself: the rows, files and lines, parts, parameters and reasons behind a published figure."""

from customer360.explanation.explain import ExplanationError as ExplanationError
from customer360.explanation.explain import covered as covered
from customer360.explanation.explain import explain as explain
