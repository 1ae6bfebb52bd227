"""`python -m dermis` is `dermis`; `torchrun … -m dermis train …` is how several GPUs start."""

from dermis.cli import main

main()
