"""Synthetic skin: lesions drawn from known latents, as pictures, texts and tables (docs/synthetic.md).

Nothing here is a photograph of anybody, and no result on it says anything about patients.
"""

from dermis.cases.synthetic.evaluation_sets import EVALUATION_SETS, make_evaluation_set
from dermis.cases.synthetic.make import VERSION, latent_cases, make_cases

__all__ = ["EVALUATION_SETS", "VERSION", "latent_cases", "make_cases", "make_evaluation_set"]
