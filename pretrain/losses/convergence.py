"""What a run says of a Taylor logarithm that may not converge: one line, and the run goes on."""

import sys

from runtime import distributed


def warned(norm: float, *, when: str, remedy: str) -> bool:
    """Whether ``norm``, of A - I, is too large for the series of Log A to be sure to converge; if so, say it.

    The theorem is sufficient and no more: C12 and P Z^T are not symmetric, and their eigenvalues, which decide, may
    be smaller than the norm. What is trained on is in any case the polynomial of finite order.

    Args:
        when: where in the run it was measured, as in "the first batch".
        remedy: what to change, as a clause.
    """
    if norm < 1:
        return False
    if distributed.is_main():
        print(
            f"warning: the Taylor logarithm may not converge on {when}: |A - I| is {norm:.2f}, and only below 1 is it "
            f"sure to (Theorem A.1); {remedy}; the run goes on",
            file=sys.stderr,
        )
    return True
