"""The model that serves as SQL: one expression per family of features, equal to `ScoreModel.contributions` to 1e-9.

The expressions are stored with their version (`state.churn_model_expressions`) and put into the dbt model
`int_customers__scored`. A tree becomes nested CASE; for one family, splits of other families that no longer lead to one
of its own are cut away, so that all families of a tree together cost hardly more comparisons than the tree.

They read columns of `int_customers__featured`, `bgnbd_logit` and `mbgnbd_logit` for the terms, and for the splits the
same columns with nulls filled (`features.UNKNOWN`), named `split_<column>`.
"""

from __future__ import annotations

from collections.abc import Collection

from customer360.churn.features import BGNBD_LOGIT, MBGNBD_LOGIT, Family, Transform
from customer360.churn.model import LEAF, Z_LIMIT, Forest, ScoreModel, Term, Tree


def family_expressions(model: ScoreModel) -> dict[Family, str]:
    """What each family contributes to the log-odds, centred, before the limit of the log-odds."""
    expressions = {}
    for family in model.families:
        parts = [_term(term) for term in model.terms if term.feature.family is family]
        parts += _trees(model.forest, {family})
        if model.forest:
            means = zip(model.forest.families, model.forest.means, strict=True)
            parts.append(_number(-sum(mean for of_family, mean in means if of_family is family)))
        expressions[family] = "\n+ ".join(parts)
    return expressions


def whole_expression(model: ScoreModel) -> str:
    """The whole sum, intercept included, for a model whose contributions nobody asks for."""
    parts = [_number(model.intercept), *(_term(term, is_centred=False) for term in model.terms)]
    return "\n+ ".join([*parts, *_trees(model.forest, frozenset(Family))])


def split_columns(model: ScoreModel) -> list[str]:
    """Columns that the expressions read as `split_<column>`."""
    if not model.forest:
        return []
    used = {int(split) for tree in model.forest.trees for split in tree.split if split != LEAF}
    return sorted({model.forest.columns[split] for split in used})


def _number(value: float) -> str:
    return f"'{float(value)!r}'::float8"


def _term(term: Term, *, is_centred: bool = True) -> str:
    is_logit = term.feature.column in (BGNBD_LOGIT, MBGNBD_LOGIT)
    column = term.feature.column if is_logit else f"{term.feature.column}::float8"
    z = f"({_TRANSFORMED[term.feature.transform].format(column)} - {_number(term.mean)}) / {_number(term.scale)}"
    limit = int(Z_LIMIT)
    centre = f" - {_number(term.population_mean_z)}" if is_centred else ""
    return f"{_number(term.beta)} * (greatest(-{limit}, least({limit}, {z})){centre})"


_TRANSFORMED = {
    Transform.AS_IT_IS: "coalesce({}, 0)",
    Transform.SQUARE_ROOT: "sqrt(greatest(coalesce({}, 0), 0))",
    Transform.LOG1P: "ln(1 + greatest(coalesce({}, 0), 0))",
    Transform.SQUARED_LOG1P: "power(ln(1 + greatest(coalesce({}, 0), 0)), 2)",
    Transform.IS_NULL: "(case when {} is null then 1 else 0 end)::float8",
}


def _trees(forest: Forest | None, families: Collection[Family]) -> list[str]:
    if forest is None:
        return []
    cases = [_case(forest, tree, 0, families, 0.0) for tree in forest.trees]
    constant = sum(case for case in cases if isinstance(case, float))
    return [case for case in cases if isinstance(case, str)] + ([_number(constant)] if constant else [])


def _case(forest: Forest, tree: Tree, node: int, families: Collection[Family], added: float) -> str | float:
    """The tree below `node` for some families: CASE, or the number where none of their splits is left."""
    split = int(tree.split[node])
    if split == LEAF:
        return added
    counts = forest.families[split] in families
    left, right = (
        _case(forest, tree, child, families, added + (float(tree.value[child] - tree.value[node]) if counts else 0.0))
        for child in (int(tree.left[node]), int(tree.right[node]))
    )
    if left == right:
        return left
    then, otherwise = (_number(side) if isinstance(side, float) else side for side in (left, right))
    return (
        f"case when split_{forest.columns[split]} <= {_number(tree.threshold[node])} then {then} else {otherwise} end"
    )
