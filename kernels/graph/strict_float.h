/* Include first: float results must not depend on whether an instruction set has fused multiply-add. */
#pragma GCC optimize("fp-contract=off")
