"""The avatar stage as one fused pass on the CPU, beside the torch path that defines it."""
