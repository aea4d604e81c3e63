"""One small expression type: it prints, parses, simplifies, proves equivalence, and becomes NumPy, torch and ONNX."""

from mmkd_symbolic.expressions.domains import Domain, Finite, Real
from mmkd_symbolic.expressions.expression import Expression, constant, variable
from mmkd_symbolic.expressions.parse import parse
from mmkd_symbolic.expressions.prove import Proof, equivalent, require_satisfiable, satisfiable

__all__ = [
    "Domain",
    "Expression",
    "Finite",
    "Proof",
    "Real",
    "constant",
    "equivalent",
    "parse",
    "require_satisfiable",
    "satisfiable",
    "variable",
]
